package main

import (
	"os"

	"github.com/berth-registry/berth/internal/domain/scan/worker"
)

// scanWorkerCommand is what the server starts to scan images. It reads no configuration.
type scanWorkerCommand struct {
	Args []string `arg:"" optional:"" passthrough:""`
}

// Run works until standard input ends.
func (c scanWorkerCommand) Run() error {
	return exitStatus(worker.Main(c.Args, os.Stdin, os.Stdout, os.Stderr))
}
