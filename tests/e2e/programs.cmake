# ---- the command line, `quern up` and quern-pools, as people use them ----
find_package(Python3 REQUIRED COMPONENTS Interpreter)
foreach(part cli_usage_test cli_refusals_test cli_jobs_test cli_tree_test cli_full_test
    cli_turned_away_test stream_cli_test flow_cli_test schedule_cli_test notes_cli_test trace_cli_test log_cli_test
    pools_test ops_test curve_cli_test node_peer_test top_cli_test)
  add_test(NAME ${part} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/${part}.py)
  set_tests_properties(${part} PROPERTIES LABELS e2e TIMEOUT 300 ENVIRONMENT
    "QUERN_TEST_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};QUERN_TEST_SOURCE=${CMAKE_SOURCE_DIR}")
endforeach()
# A library in front of the broker makes its disk fail.
set_property(TEST ops_test APPEND PROPERTY ENVIRONMENT "QUERN_FAIL_SYNC=$<TARGET_FILE:fail_sync>")

# The peers of docs/examples/python. The interpreter is the one that Debian's python3-zmq and
# python3-msgpack are for, whatever else is first in PATH.
find_program(QUERN_DEBIAN_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
add_test(NAME python_peer_test COMMAND ${QUERN_DEBIAN_PYTHON} -B
  ${CMAKE_CURRENT_SOURCE_DIR}/python_peer_test.py)
set_tests_properties(python_peer_test PROPERTIES LABELS e2e TIMEOUT 300 ENVIRONMENT
  "QUERN_TEST_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};QUERN_TEST_SOURCE=${CMAKE_SOURCE_DIR}")
