//go:build linux && (amd64 || arm64)

package confine

// Filter installs the filter alone.
func Filter(pid int) error { return filter(pid) }
