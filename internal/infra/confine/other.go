//go:build !linux || (!amd64 && !arm64)

package confine

// Enter fails: there is no filter for this system or processor.
func Enter(Limits) error { return ErrUnsupported }
