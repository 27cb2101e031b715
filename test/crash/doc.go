// Package crash kills the server with SIGKILL while many clients push, again and
// again, and holds what it finds after each restart against what had been
// acknowledged: docs/push-cycle.md argues why nothing is lost, this shows it.
//
// A kill leaves what the operating system has taken; a power cut would not. That
// part of the argument, the order of syncs, is not tested here.
//
// The flags -rounds, -clients and -seed choose how long and with what; a run
// prints its seed. It holds tests only.
package crash
