//go:build linux

package confine

import "golang.org/x/sys/unix"

const (
	arch = unix.AUDIT_ARCH_AARCH64
	// foreign is beyond all numbers: this processor has one interface of 64 bits.
	foreign = 0x40000000
)

// formerly are calls that only other processors have.
func formerly() []uint32 { return nil }
