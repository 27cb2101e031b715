package fs

import "testing"

func TestFree(t *testing.T) {
	s := open(t, t.TempDir())
	free, err := s.Free()
	if err != nil || free == 0 || free > 1<<60 {
		t.Errorf("%d bytes are free, %v", free, err)
	}
}
