// The error type of the frontend: a stable code, what was found, what was expected, where, and how to fix it.
//
// Nothing in the frontend throws. A function that can fail returns `Status` (nothing on success) or `Expected<T>`.
// Codes are E2xxx:
//   E2001-E2013 safetensors rules S1-S13      E2021-E2022 index rules I1, I2      E2030-E2049 files and JSON
//   E2100-E2199 config.json                   E2200-E2299 tensor inventory        E2300-E2349 values in weights
//   E2400-E2449 building the module           E2500-E2599 tokenizer
#ifndef MORAY_FRONTEND_ERROR_H
#define MORAY_FRONTEND_ERROR_H

#include <cassert>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace moray::frontend {

class Error {
public:
  Error(int code, std::string message) : errorCode(code), errorMessage(std::move(message)) {}

  // The usual shape of a message: "<where>: found <found>, expected <expected>; <fix>". Empty parts are left out.
  static Error describe(int code, const std::string &where, const std::string &found, const std::string &expected,
                        const std::string &fix) {
    std::string text = where;
    if (!found.empty())
      text += (text.empty() ? "found " : ": found ") + found;
    if (!expected.empty())
      text += ", expected " + expected;
    if (!fix.empty())
      text += "; " + fix;
    return Error(code, std::move(text));
  }

  int code() const { return errorCode; }
  const std::string &message() const { return errorMessage; }
  // What a tool prints: "error[E2107]: message".
  std::string text() const { return "error[E" + std::to_string(errorCode) + "]: " + errorMessage; }

private:
  int errorCode;
  std::string errorMessage;
};

// Success, or an Error. Converts to true on success.
class [[nodiscard]] Status {
public:
  Status() = default;
  Status(Error error) : failure(std::move(error)) {}
  explicit operator bool() const { return !failure; }
  const Error &error() const { return *failure; }

private:
  std::optional<Error> failure;
};

// A value, or an Error. Converts to true when it holds a value; dereferencing without one is a programming error.
template <typename T> class [[nodiscard]] Expected {
public:
  Expected(T value) : held(std::move(value)) {}
  Expected(Error error) : failure(std::move(error)) {}
  explicit operator bool() const { return held.has_value(); }
  T &operator*() { return *held; }
  const T &operator*() const { return *held; }
  T *operator->() { return &*held; }
  const T *operator->() const { return &*held; }
  const Error &error() const {
    assert(failure && "no error in a successful result");
    return *failure;
  }

private:
  std::optional<T> held;
  std::optional<Error> failure;
};

// Things worth telling once that do not stop an import. Equal texts are counted, not repeated.
class Warnings {
public:
  void add(const std::string &text) {
    for (auto &[known, count] : entries)
      if (known == text) {
        ++count;
        return;
      }
    entries.emplace_back(text, 1);
  }
  const std::vector<std::pair<std::string, unsigned>> &all() const { return entries; }

private:
  std::vector<std::pair<std::string, unsigned>> entries;
};

} // namespace moray::frontend

#endif // MORAY_FRONTEND_ERROR_H
