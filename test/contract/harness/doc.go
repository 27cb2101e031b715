// Package harness runs the built berth binary, and the programs that stand
// beside it in a test: real registry clients, the docker engine, containerd.
// Everything it starts lives in temporary directories and ends with the test.
//
// A tool that is not installed fails the test with what to run; nothing is
// skipped. What is checked, the packages of the tests say; the harness only
// holds what several of them need. It is test-support code, which is why it
// imports testing outside a _test file, and it runs on Linux only.
package harness
