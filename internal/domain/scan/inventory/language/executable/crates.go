package executable

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// maxCrates is how large the list of crates may be in bytes, packed and plain; 1,000 crates take 80 KiB.
const maxCrates = 4 << 20

// crates reads the list that cargo-auditable puts into a section of its own, packed by zlib. Crates that
// were needed to build alone are not in the program.
func crates(x *file, add func(inventory.Package) error) error {
	if x.crates.size == 0 {
		return nil
	}
	packed, err := x.at(x.crates.off, x.crates.size, maxCrates)
	if err != nil {
		return err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	plain, err := io.ReadAll(io.LimitReader(z, maxCrates+1))
	if err = errors.Join(err, z.Close()); err != nil {
		return err
	}
	if len(plain) > maxCrates {
		return fmt.Errorf("its list of crates has more than %d bytes", maxCrates)
	}
	var list struct {
		Packages []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Kind    string `json:"kind"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(plain, &list); err != nil {
		return err
	}
	for _, p := range list.Packages {
		if p.Kind == "build" {
			continue
		}
		if err := add(inventory.Package{Type: inventory.RustBinary, Name: p.Name, Version: p.Version}); err != nil {
			return err
		}
	}
	return nil
}
