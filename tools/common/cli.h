// What every command line tool shares: exit codes, the form of errors, argument parsing, interruption.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace moray::tools {

enum ExitCode {
  kExitOk = 0,
  kExitUsage = 2,
  kExitModel = 3,
  kExitArtifact = 4,
  kExitIntegrity = 5,
  kExitResources = 6,
  kExitRequest = 7,
  kExitDevice = 8,
  kExitRank = 9,
  kExitInternal = 70,
  kExitInterrupted = 130, // 128 + SIGINT
};

/// Prints `error[CODE]: message` and, unless empty, `  fix: fix` on stderr; returns `exitCode` for `return fail(...)`.
int fail(const char *code, const std::string &message, const std::string &fix, int exitCode);

/// Parses the arguments. Returns true when the tool shall go on; otherwise `exitCode` is 0 (help or version was printed
/// on stdout) or kExitUsage (error[E1001] was printed).
bool parseArguments(CLI::App &app, int argc, char **argv, int &exitCode);

/// Parses "1,2,3" into token ids. Returns false and prints error[E1004] unless every item is a number in [0, 2^31).
bool parseTokenIds(const std::string &text, std::vector<int32_t> &ids);

/// Reads a whole file ("-" is stdin). Returns false and prints error[E1002] when it cannot.
bool readFile(const std::string &path, std::string &content);

/// SIGINT sets a flag that the caller polls between steps; a second SIGINT ends the process at once. SIGPIPE is
/// ignored, so that a closed pipe shows as a failed write.
void installSignalHandlers();
bool interrupted();

/// Writes to stdout and flushes. Returns false once the reader has gone away.
bool writeOut(const char *text, size_t bytes);

} // namespace moray::tools
