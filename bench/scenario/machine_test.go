package scenario

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-registry/berth/bench/content"
)

func TestWriteDurably(t *testing.T) {
	path := t.TempDir() + "/file"
	if err := writeDurably(path, 2*pieceSize); err != nil {
		t.Fatal(err)
	}
	if err := writeDurably(path, pieceSize); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a file that is there was written again: %v", err)
	}
	var out bytes.Buffer
	sum, err := hashAll(&out, 3*pieceSize)
	if err != nil || out.Len() != 3*pieceSize || content.Digest(out.Bytes()) != fmt.Sprintf("sha256:%x", sum) {
		t.Errorf("hashAll passed %d bytes on and says %x, %v", out.Len(), sum, err)
	}
	if err := sealAll(3 * pieceSize); err != nil {
		t.Error(err)
	}
}
