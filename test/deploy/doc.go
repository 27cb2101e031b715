// Package deploy holds the files in deploy, and what the pages about running Berth
// print, to what they promise: the container image is built and runs without
// rights, the compose file is read strictly, the systemd unit is verified, and the
// load balancers' settings are tried with the real programs. The Helm chart has a
// module of its own, ./chart.
//
// It knows nothing of what Berth does; the contract tests do.
package deploy
