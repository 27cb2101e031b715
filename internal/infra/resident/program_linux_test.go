package resident

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func TestFixedAddress(t *testing.T) {
	header := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
	for kind, want := range map[uint16]bool{2: true, 3: false} { // ET_EXEC, ET_DYN
		binary.NativeEndian.PutUint16(header[16:], kind)
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, header, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := hasFixedAddress(path); got != want || err != nil {
			t.Errorf("a program of the type %d: %t, %v", kind, got, err)
		}
		if err := os.Truncate(path, 10); err != nil {
			t.Fatal(err)
		}
		if got, err := hasFixedAddress(path); got || err == nil {
			t.Error("a file that is cut off is a program")
		}
	}
}
