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
  kExitClosedPipe = 141,  // 128 + SIGPIPE: the reader of the output left
};

/// Prints `error[CODE]: message` and, unless empty, `  fix: fix` on stderr; returns `exitCode` for `return fail(...)`.
int fail(const char *code, const std::string &message, const std::string &fix, int exitCode);

/// Parses the arguments. Returns true when the tool shall go on; otherwise `exitCode` is 0 (help or version was printed
/// on stdout) or kExitUsage (error[E1001] was printed). Before that it opens /dev/null for each standard stream that is
/// closed, so that no file of ours takes its number and is read as the prompt or written as a message.
bool parseArguments(CLI::App &app, int argc, char **argv, int &exitCode);

/// Parses "1,2,3" into token ids. Returns false and prints error[E1004] unless every item is a number in [0, 2^31).
bool parseTokenIds(const std::string &text, std::vector<int32_t> &ids);

/// Reads a whole file ("-" is stdin). Returns false and prints error[E1002] when it cannot.
bool readFile(const std::string &path, std::string &content);

/// SIGINT and SIGTERM set a flag that the caller polls between steps; a second one, from 0.2 s on, ends the process at
/// once. SIGPIPE is ignored, so that a closed pipe shows as a failed write.
void installSignalHandlers();
bool interrupted();
/// Nonzero once interrupted() is true, for those who wait elsewhere.
const volatile int *interruptFlag();
/// The exit code after an interruption: 128 + the signal, 130 for SIGINT, 143 for SIGTERM.
int interruptedExit();

/// Writes to stdout and flushes. Returns kExitOk, kExitClosedPipe once the reader has gone away, or kExitResources when
/// the result cannot be written for another reason (error[E1003] was printed).
int writeOut(const char *text, size_t bytes);
/// The same for what was printed on stdout so far: the end of every tool that uses printf.
int flushOut();

/// A check for options: a number from `least` (itself allowed or not) to `most`; never NaN, which CLI::Range lets pass.
CLI::Validator numberBetween(double least, double most, bool includingLeast);

/// A check for options: digits of a number below 2^64, and no sign (CLI11 wraps -1 and cuts what is too large).
CLI::Validator wholeNumber();

} // namespace moray::tools
