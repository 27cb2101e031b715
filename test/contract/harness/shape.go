package harness

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore/s3/s3test"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// Shape is where a server keeps its things: the database and the layers, as in
// "postgres+s3".
type Shape string

// The shapes. Every test that does not ask for one runs on the shape of the
// environment variable BERTH_TEST_SHAPE, or on Embedded.
const (
	Embedded      Shape = "sqlite+files"
	ScaleOut      Shape = "postgres+s3"
	PostgresFiles Shape = "postgres+files"
	SQLiteS3      Shape = "sqlite+s3"
)

const shapeVariable = "BERTH_TEST_SHAPE"

// ShapeOfRun is the shape that the tests of this process run on.
func ShapeOfRun(t testing.TB) Shape {
	t.Helper()
	switch s := Shape(os.Getenv(shapeVariable)); s {
	case "":
		return Embedded
	case Embedded, ScaleOut, PostgresFiles, SQLiteS3:
		return s
	default:
		t.Fatalf("%s is %q; want %s, %s, %s or %s", shapeVariable, s, Embedded, ScaleOut, PostgresFiles, SQLiteS3)
		return ""
	}
}

// Postgres says whether the shape has its database in PostgreSQL.
func (s Shape) Postgres() bool { return strings.HasPrefix(string(s), "postgres+") }

// S3 says whether the shape has its layers in object storage.
func (s Shape) S3() bool { return strings.HasSuffix(string(s), "+s3") }

// Backing is what stands behind a server besides its data directory. Servers with
// the same one are nodes of one deployment.
type Backing struct {
	Shape Shape
	// Env is what makes a berth command use it, KEY=value.
	Env []string
	// DatabaseURL is the PostgreSQL database's; "" without.
	DatabaseURL string
	// Bucket is the bucket's name; "" without. Store is the server that it is on.
	Bucket string
	Store  *s3test.Server
}

// MasterKey is what seals the keyring of every deployment on PostgreSQL.
const MasterKey = "YmVydGggY29udHJhY3QgdGVzdHMgbWFzdGVyIGtleSE="

// NewBacking makes an empty one, which goes away with the test.
func NewBacking(t testing.TB, shape Shape) *Backing {
	t.Helper()
	b := &Backing{Shape: shape}
	if shape.Postgres() {
		b.DatabaseURL = sqldbtest.PostgresURL(t)
		b.Env = append(b.Env, "BERTH_DATABASE="+b.DatabaseURL, "BERTH_MASTER_KEY="+MasterKey)
	}
	if shape.S3() {
		b.Store = s3test.Start(t)
		b.Bucket = b.Store.Bucket(t)
		b.Env = append(b.Env, "BERTH_BLOBS=s3://"+b.Bucket, "BERTH_S3_ENDPOINT="+b.Store.Endpoint, "BERTH_S3_PATH_STYLE=true", "BERTH_S3_REGION="+b.Store.Region,
			"AWS_ACCESS_KEY_ID="+b.Store.AccessKey, "AWS_SECRET_ACCESS_KEY="+b.Store.SecretKey)
	}
	return b
}

// backings remembers what stands behind a data directory, for a server that is
// started on it again.
var backings struct {
	sync.Mutex
	of map[string]*Backing
}

func backingOf(t testing.TB, o Options, data string) *Backing {
	t.Helper()
	backings.Lock()
	defer backings.Unlock()
	if backings.of == nil {
		backings.of = map[string]*Backing{}
	}
	b := o.Backing
	if b == nil {
		b = backings.of[data]
	}
	if b == nil {
		shape := o.Shape
		if shape == "" {
			shape = ShapeOfRun(t)
			if o.Namespace != nil {
				shape = Embedded // the namespace may have a network of its own, where no bucket is
			}
		}
		b = NewBacking(t, shape)
	}
	backings.of[data] = b
	return b
}
