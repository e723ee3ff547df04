# Settings and helper functions shared by every folder; knows nothing of MLIR.
include_guard(GLOBAL)
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
set_property(GLOBAL PROPERTY JOB_POOLS link_pool=1)
set(CMAKE_JOB_POOL_LINK link_pool)

find_program(MORAY_CCACHE ccache)
if(MORAY_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The precompiled header makes ccache compare contents, not times; paths are relative so build folders share entries.
  set(moray_launcher "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=/ CCACHE_NOHASHDIR=1 "${MORAY_CCACHE}")
  set(CMAKE_C_COMPILER_LAUNCHER ${moray_launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${moray_launcher})
endif()

set(MORAY_WARNINGS -Wall -Wextra -Wno-unused-parameter -Werror=return-type)
if(MORAY_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=address,undefined)
endif()

# moray_add_unit_test(Name SOURCES a.cpp ... LINKS libs ... [MLIR]): one GoogleTest program, one ctest entry of the same name.
# The program runs in test/ of the source tree and leaves its results as XML for tools/test.sh to count. MLIR: the sources use
# compiler headers; such a test does not exist in a build without the compiler. The others run under sanitizers, too (label plain).
function(moray_add_unit_test name)
  cmake_parse_arguments(ARG "MLIR" "TIMEOUT" "SOURCES;LINKS;LABELS" ${ARGN})
  if(ARG_MLIR AND NOT MORAY_BUILD_COMPILER)
    return()
  endif()
  find_package(GTest REQUIRED)
  if(ARG_MLIR)
    moray_add_compiler_tool(${name} SOURCES ${ARG_SOURCES} LINKS ${ARG_LINKS} GTest::gtest_main)
  else()
    add_executable(${name} ${ARG_SOURCES})
    target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}")
    target_compile_options(${name} PRIVATE ${MORAY_WARNINGS})
    target_link_libraries(${name} PRIVATE ${ARG_LINKS} GTest::gtest_main)
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/test/bin")
  target_compile_definitions(${name} PRIVATE MORAY_SOURCE_DIR="${PROJECT_SOURCE_DIR}" MORAY_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name} "--gtest_output=xml:${PROJECT_BINARY_DIR}/test/results/${name}.xml"
    WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}/test")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set(kind plain)
  if(ARG_MLIR)
    set(kind mlir)
  endif()
  # The sanitizer cannot follow containers that cross into uninstrumented libraries.
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "unit;${kind};${ARG_LABELS}"
    ENVIRONMENT "ASAN_OPTIONS=detect_container_overflow=0:abort_on_error=0;UBSAN_OPTIONS=print_stacktrace=1")
  set_property(GLOBAL APPEND PROPERTY MORAY_UNIT_TESTS_${kind} ${name})
endfunction()

# moray_add_runtime_tool(name SOURCES main.cpp ...): an executable on the public C API alone; it sees no other folder.
function(moray_add_runtime_tool name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tools")
  target_compile_options(${name} PRIVATE ${MORAY_WARNINGS})
  target_link_libraries(${name} PRIVATE moray_runtime MorayToolsCommon ${ARG_LINKS})
  set_target_properties(${name} PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  install(TARGETS ${name} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT tools)
endfunction()
