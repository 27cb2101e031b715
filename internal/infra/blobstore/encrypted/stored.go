package encrypted

import "github.com/berth-registry/berth/internal/infra/blobstore"

// Overhead is how many bytes sealing adds to an object of less than 64 KiB.
const Overhead = overhead

// StoredSize is how many bytes an object takes in the store under an Either, for
// those who copy objects as they are.
func StoredSize(o blobstore.Object) int64 {
	switch {
	case o.Within():
		return 0
	case o.Sealed():
		return sealedSize(o.Size)
	}
	return o.Size
}
