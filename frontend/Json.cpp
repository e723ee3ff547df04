// Strict JSON reading on nlohmann's SAX parser, which is iterative and reports instead of throwing.
#include "frontend/Json.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

namespace moray::frontend {
namespace {

using nlohmann::json;

// Builds the document and applies the rules that nlohmann's own DOM builder does not have.
class StrictBuilder : public nlohmann::json_sax<json> {
public:
  explicit StrictBuilder(const std::string &file) : file(file) {}

  bool null() override { return place(json(nullptr)); }
  bool boolean(bool value) override { return place(json(value)); }
  bool number_integer(number_integer_t value) override { return place(json(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > uint64_t(std::numeric_limits<int64_t>::max()))
      return fail(kJsonIntegerRange, "the integer " + std::to_string(value), "at most 9223372036854775807");
    return place(json(value));
  }
  bool number_float(number_float_t value, const string_t &spelling) override {
    // nlohmann falls back to double for integers that do not fit 64 bits.
    if (spelling.find_first_of(".eE") == string_t::npos)
      return fail(kJsonIntegerRange, "the integer " + spelling, "at most 9223372036854775807");
    return place(json(value));
  }
  bool string(string_t &value) override { return place(json(std::move(value))); }
  bool binary(binary_t &) override { return fail(kJsonMalformed, "binary data", "text"); }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t &name) override {
    stack.back().key = name;
    auto [member, inserted] = stack.back().value->get_ptr<json::object_t *>()->emplace(std::move(name), nullptr);
    if (!inserted)
      return fail(kJsonDuplicateKey, "the key \"" + member->first + "\" twice in one object", "each key once");
    slot = &member->second;
    return true;
  }
  bool parse_error(std::size_t position, const std::string &, const json::exception &error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: reason": keep the reason.
    std::string reason = error.what();
    if (size_t column = reason.find("column "); column != std::string::npos)
      if (size_t colon = reason.find(": ", column); colon != std::string::npos)
        reason.erase(0, colon + 2);
    failure = Error(kJsonMalformed, file + ": byte " + std::to_string(position) + ": " + reason +
                                        "; the file is damaged or not JSON, download it again");
    return false;
  }

  Expected<json> finish(bool accepted) {
    if (failure)
      return *failure;
    if (!accepted)
      return Error(kJsonMalformed, file + ": not JSON; download it again");
    return std::move(root);
  }

private:
  struct Container {
    json *value; // does not move while it is open: its parent does not grow before it is closed
    std::string key;
  };

  bool fail(int code, const std::string &found, const std::string &expected) {
    failure = Error::describe(code, file + path(), found, expected, "correct the file");
    return false;
  }

  // Where the parser stands: ": .model.merges[3]".
  std::string path() const {
    std::string text;
    for (const Container &container : stack) {
      // The element of an array that is being read: the last one where it is a container, else the next one.
      size_t index = container.value->size() - (&container != &stack.back());
      text += container.value->is_array() ? "[" + std::to_string(index) + "]" : "." + container.key;
    }
    return text.empty() ? text : ": " + text;
  }

  json *add(json &&value) {
    json *target = stack.empty() ? &root : slot;
    if (!stack.empty() && stack.back().value->is_array()) {
      auto *array = stack.back().value->get_ptr<json::array_t *>();
      array->emplace_back();
      target = &array->back();
    }
    *target = std::move(value);
    return target;
  }
  bool place(json &&value) {
    add(std::move(value));
    return true;
  }
  bool open(json &&value) {
    if (int(stack.size()) == kJsonMaxDepth)
      return fail(kJsonTooDeep, "values nested deeper than 64 levels", "at most 64");
    stack.push_back({add(std::move(value)), std::string()});
    return true;
  }
  bool close() {
    stack.pop_back();
    return true;
  }

  const std::string &file;
  json root;
  std::vector<Container> stack;
  json *slot = nullptr; // the value of the key just read
  std::optional<Error> failure;
};

// A member that is absent or null, for the helpers with a fallback.
bool isAbsent(const json *member) { return !member || member->is_null(); }

std::string memberPath(const std::string &where, const char *key) { return where + "." + key; }

} // namespace

Expected<json> parseJson(std::string_view text, const std::string &file) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF")
    return Error(kJsonByteOrderMark,
                 file + ": byte 0: found a byte order mark, expected plain UTF-8; remove the first 3 bytes");
  StrictBuilder builder(file);
  bool accepted = json::sax_parse(text.begin(), text.end(), &builder);
  return builder.finish(accepted);
}

Expected<std::string> readTextFile(const std::string &path, uint64_t maxBytes) {
  std::unique_ptr<FILE, int (*)(FILE *)> stream(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!stream)
    return Error(kJsonUnreadable,
                 path + ": cannot open: " + std::strerror(errno) + "; check the path and its permissions");
  std::string text;
  char block[1 << 16];
  while (size_t got = std::fread(block, 1, sizeof block, stream.get())) {
    text.append(block, got);
    if (text.size() > maxBytes)
      return Error(kJsonUnreadable, path + ": found more than " + std::to_string(maxBytes) +
                                        " bytes, expected less; this is not the file it is named after");
  }
  if (std::ferror(stream.get()))
    return Error(kJsonUnreadable, path + ": cannot read: " + std::strerror(errno) + "; check the path and the disk");
  constexpr std::string_view lfsLine = "version https://git-lfs.github.com/spec/v1";
  if (text.compare(0, lfsLine.size(), lfsLine) == 0)
    return Error(kJsonLfsPointer, path + ": large files not downloaded: found a Git LFS pointer; run `git lfs pull`");
  return text;
}

Expected<json> readJsonFile(const std::string &path) {
  Expected<std::string> text = readTextFile(path);
  if (!text)
    return text.error();
  return parseJson(*text, path);
}

const json *findMember(const json &value, const char *key) {
  const auto *object = value.get_ptr<const json::object_t *>();
  if (!object)
    return nullptr;
  auto member = object->find(key);
  return member == object->end() ? nullptr : &member->second;
}

Error jsonTypeError(const std::string &where, const json *found, const std::string &expected) {
  return Error::describe(kJsonType, where, found ? std::string("a value of type ") + found->type_name() : "nothing",
                         expected, "correct the file");
}

Expected<std::string> stringMember(const json &value, const char *key, const std::string &where) {
  const json *member = findMember(value, key);
  if (!member || !member->is_string())
    return jsonTypeError(memberPath(where, key), member, "a string");
  return *member->get_ptr<const std::string *>();
}

Expected<std::string> stringMember(const json &value, const char *key, const std::string &where,
                                   const std::string &fallback) {
  return isAbsent(findMember(value, key)) ? Expected<std::string>(fallback) : stringMember(value, key, where);
}

Expected<int64_t> intMember(const json &value, const char *key, const std::string &where) {
  const json *member = findMember(value, key);
  if (!member || !member->is_number_integer())
    return jsonTypeError(memberPath(where, key), member, "an integer");
  return member->get<int64_t>();
}

Expected<int64_t> intMember(const json &value, const char *key, const std::string &where, int64_t fallback) {
  return isAbsent(findMember(value, key)) ? Expected<int64_t>(fallback) : intMember(value, key, where);
}

Expected<double> doubleMember(const json &value, const char *key, const std::string &where, double fallback) {
  const json *member = findMember(value, key);
  if (isAbsent(member))
    return fallback;
  if (!member->is_number())
    return jsonTypeError(memberPath(where, key), member, "a number");
  return member->get<double>();
}

Expected<bool> boolMember(const json &value, const char *key, const std::string &where, bool fallback) {
  const json *member = findMember(value, key);
  if (isAbsent(member))
    return fallback;
  if (!member->is_boolean())
    return jsonTypeError(memberPath(where, key), member, "true or false");
  return member->get<bool>();
}

} // namespace moray::frontend
