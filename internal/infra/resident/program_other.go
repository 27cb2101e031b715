//go:build !linux

package resident

func releaseProgram() error { return nil }
