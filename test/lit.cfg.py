"""Configuration of the lit suite: what is a test, which tools it may call, and what this machine offers."""

import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(__file__))
import moray_format

# Folders whose tests drive the compiler; without it they are reported as unsupported.
COMPILER_FOLDERS = {"Dialect", "Dialects", "Passes", "Codegen", "Frontend", "Reference", "E2E"}
# CPU levels that every artifact holds.
COMPILED_LEVELS = {"x86-64-v3", "avx512"}
# Folders that hold programs, data or their own build, not lit tests.
config.excludes = ["Inputs", "Unit", "Conformance", "golden", "models", "CMakeLists.txt", "README.md", "lit.cfg.py"]


def cpu_flags():
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                if line.startswith("flags"):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def cpu_levels():
    """The CPU levels of an artifact that this machine can run."""
    flags = cpu_flags()
    levels = []
    if {"avx2", "fma", "bmi2", "f16c"} <= flags:
        levels.append("x86-64-v3")
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        levels.append("avx512")
    if {"amx_tile", "amx_bf16", "amx_int8"} <= flags:
        levels.append("amx")
    return levels


config.name = "moray"
config.test_format = moray_format.MorayTest(config.moray_compiler, COMPILER_FOLDERS)
config.suffixes = [".mlir", ".test"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.moray_binary_dir, "test")

tools = os.path.join(config.moray_binary_dir, "bin")
test_tools = os.path.join(config.moray_binary_dir, "test", "bin")
config.environment["PATH"] = os.pathsep.join([tools, test_tools, config.moray_llvm_tools_dir, os.environ.get("PATH", "")])
config.environment["PYTHONDONTWRITEBYTECODE"] = "1"

config.substitutions += [
    ("%python", sys.executable),
    ("%expect", "%s %s" % (sys.executable, os.path.join(config.test_source_root, "Tools", "Inputs", "expect.py"))),
    ("%golden", os.path.join(config.test_source_root, "golden")),
    ("%models", os.path.join(config.test_source_root, "models")),
    ("%scripts", os.path.join(config.moray_source_dir, "tools", "scripts")),
    ("%source_root", config.moray_source_dir),
    ("%binary_root", config.moray_binary_dir),
    ("%gpusim", os.path.join(config.moray_binary_dir, "lib", "libmoray_gpusim.so")),
    ("%ncclsim", os.path.join(config.moray_binary_dir, "lib", "libmoray_ncclsim.so")),
    ("%cmake", config.moray_cmake),
    ("%mpirun", "mpirun --allow-run-as-root --oversubscribe"),
    ("%cc", config.moray_cc),
    ("%cxx", config.moray_cxx),
    # Tests that list several levels force each one this machine has; the rest is printed as skipped by the features below.
    ("%cpu_levels", ",".join(level for level in cpu_levels() if level in COMPILED_LEVELS)),
]

if config.moray_compiler:
    config.available_features.add("compiler")
for level in cpu_levels():
    config.available_features.add("cpu-" + level)
if config.moray_sanitize:
    config.available_features.add("asan")
ptxas = shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")
if ptxas:
    config.available_features.add("ptxas")
    config.substitutions.append(("%ptxas", ptxas))
if shutil.which("mpirun") and os.path.exists(os.path.join(config.moray_binary_dir, "lib", "libmoray_comm_mpi.so")):
    config.available_features.add("mpi")
if shutil.which("gdb"):
    config.available_features.add("gdb")

# tools/test.sh --quick leaves out what is marked `REQUIRES: slow`, --full adds what is marked `REQUIRES: long`.
effort = lit_config.params.get("effort", "normal")
if effort in ("normal", "full"):
    config.available_features.add("slow")
if effort == "full":
    config.available_features.add("long")
lit_config.note("CPU levels of this machine: %s; effort: %s" % (", ".join(cpu_levels()) or "none", effort))
try:
    import psutil  # noqa: F401, lit needs it to enforce a limit; the tests that could hang bring their own deadline

    lit_config.maxIndividualTestTime = 900 if effort == "full" else 300
except ImportError:
    pass
