// Strict JSON for files that come from outside: depth at most 64, no duplicate key, no BOM, exact integers up to
// 2^63-1.
//
// The parser never throws. Values are read with the helpers below, which give null or an Error for a wrong type; the
// throwing accessors of nlohmann::json must not be used on data from a file.
#ifndef MORAY_FRONTEND_JSON_H
#define MORAY_FRONTEND_JSON_H

#include "frontend/Error.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace moray::frontend {

inline constexpr int kJsonUnreadable = 2030;   // the file cannot be opened or read, or is larger than the limit
inline constexpr int kJsonLfsPointer = 2031;   // a Git LFS pointer in place of the file
inline constexpr int kJsonMalformed = 2032;    // not JSON, or not UTF-8
inline constexpr int kJsonDuplicateKey = 2033; // one key twice in an object
inline constexpr int kJsonTooDeep = 2034;      // nested deeper than kJsonMaxDepth
inline constexpr int kJsonByteOrderMark = 2035;
inline constexpr int kJsonIntegerRange = 2036; // an integer outside [-2^63, 2^63-1]
inline constexpr int kJsonType = 2037;         // a key is missing or its value has another type than expected

inline constexpr int kJsonMaxDepth = 64;

// Parses one complete JSON text. `file` is only used in messages: "<file>: byte N: ...".
Expected<nlohmann::json> parseJson(std::string_view text, const std::string &file);

// The bytes of a file of at most `maxBytes`; refuses Git LFS pointers.
Expected<std::string> readTextFile(const std::string &path, uint64_t maxBytes = uint64_t(1) << 31);

// readTextFile, then parseJson.
Expected<nlohmann::json> readJsonFile(const std::string &path);

// The member `key` of an object; null when `value` is no object or has no such key.
const nlohmann::json *findMember(const nlohmann::json &value, const char *key);

// Typed members. `where` names the object in messages ("tokenizer.json: model"). With a fallback, a missing key and an
// explicit JSON null give the fallback; without one they are an error, as is any other type.
Expected<std::string> stringMember(const nlohmann::json &value, const char *key, const std::string &where);
Expected<std::string> stringMember(const nlohmann::json &value, const char *key, const std::string &where,
                                   const std::string &fallback);
Expected<int64_t> intMember(const nlohmann::json &value, const char *key, const std::string &where);
Expected<int64_t> intMember(const nlohmann::json &value, const char *key, const std::string &where, int64_t fallback);
// Integers are accepted as doubles.
Expected<double> doubleMember(const nlohmann::json &value, const char *key, const std::string &where, double fallback);
Expected<bool> boolMember(const nlohmann::json &value, const char *key, const std::string &where, bool fallback);

// The error of a value with the wrong type: "<where>: found a string, expected an integer".
Error jsonTypeError(const std::string &where, const nlohmann::json *found, const std::string &expected);

} // namespace moray::frontend

#endif // MORAY_FRONTEND_JSON_H
