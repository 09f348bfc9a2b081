# ---- the command line, the supervisor, child processes ----
quern_test(cli_values_test SOURCES cli_values_test.c LIBS quern_cli)
quern_test(cli_flow_test SOURCES cli_flow_test.c LIBS quern_cli)
quern_test(cli_top_test SOURCES cli_top_test.c LIBS quern_cli)
# Its own accept4 stands before the system's, as in the broker.
quern_test(inflow_test SOURCES inflow_test.c LIBS quern_gate)
quern_test(gate_test SOURCES gate_test.c LIBS quern_gate)
quern_test(seats_test SOURCES seats_test.c LIBS quern_pools_core)
quern_test(files_test SOURCES files_test.c LIBS quern_os)
quern_test(child_test SOURCES child_test.c LIBS quern_os)
