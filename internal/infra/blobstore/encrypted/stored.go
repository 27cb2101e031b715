package encrypted

import "github.com/berth-registry/berth/internal/infra/blobstore"

// StoredSize is how many bytes an object takes in the store under an Either, for
// those who copy objects as they are.
func StoredSize(o blobstore.Object) int64 {
	if len(o.Seal) > 0 {
		return sealedSize(o.Size)
	}
	return o.Size
}
