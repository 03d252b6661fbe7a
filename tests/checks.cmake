# The tests of the house itself: style, layers, headers, exported symbols, ABI and packaging.
# They run in the release build only.

find_package(Python3 REQUIRED COMPONENTS Interpreter)

# kvinfer_check(<name> <command>...): a script as a test; it skips with exit status 77 and "SKIP: reason".
function(kvinfer_check name)
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 LABELS house)
endfunction()

set(here ${CMAKE_CURRENT_SOURCE_DIR})
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  kvinfer_check(include_direction ${Python3_EXECUTABLE} ${here}/check_includes.py ${PROJECT_SOURCE_DIR})
  kvinfer_check(include_direction_catches_wrong_edges ${Python3_EXECUTABLE} ${here}/check_includes.py --self-test)
  kvinfer_check(summary_fails_what_did_not_run ${Python3_EXECUTABLE} ${here}/summarize.py --self-test)
  kvinfer_check(abi_gate_catches_changes ${Python3_EXECUTABLE} ${here}/check_abi.py --self-test)
  kvinfer_check(documents_name_what_exists ${Python3_EXECUTABLE} ${here}/check_docs.py ${PROJECT_SOURCE_DIR})
  kvinfer_check(headers_compile_alone ${here}/check_headers.sh ${PROJECT_SOURCE_DIR})
  kvinfer_check(sources_are_formatted ${here}/lint.sh)
  kvinfer_check(clang_tidy_finds_nothing ${Python3_EXECUTABLE} ${here}/check_tidy.py ${PROJECT_BINARY_DIR})
  cmake_host_system_information(RESULT num_cores QUERY NUMBER_OF_LOGICAL_CORES)
  set_tests_properties(clang_tidy_finds_nothing PROPERTIES PROCESSORS ${num_cores})  # it uses them all
endif()
if(TARGET kvinfer AND CMAKE_BUILD_TYPE STREQUAL "Release")
  kvinfer_check(library_exports_only_the_abi ${here}/check_symbols.sh $<TARGET_FILE:kvinfer>)
  kvinfer_check(no_function_of_one_isa_is_shared ${here}/check_isa_objects.sh ${PROJECT_BINARY_DIR})
  kvinfer_check(abi_only_grows ${Python3_EXECUTABLE} ${here}/check_abi.py $<TARGET_FILE:kvinfer>)
  if(TARGET kvinfer-cli)
    kvinfer_check(moved_prefix_serves_c_and_cpp ${here}/check_packaging.sh ${PROJECT_BINARY_DIR} ${PROJECT_SOURCE_DIR})
  endif()
endif()
