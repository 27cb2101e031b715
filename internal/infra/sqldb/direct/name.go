package direct

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/url"

	"modernc.org/sqlite"
)

// The pragmas of each connection, in the order in which they are set. The busy
// timeout comes first, since the others may meet a lock. mmap stays off: a read
// error in a mapped page would kill the process where pread returns an error. The
// caches, in KiB where they are negative, hold what is used all the time; the rest is
// in the system's. Together they stay near softLimit.

// softLimit is how many bytes SQLite takes in the whole process before it uses pages of
// its caches again in the place of more memory.
const softLimit = "soft_heap_limit(10485760)"

// Writing names the file at path for the connection that writes to it. With
// durable it syncs every commit.
func Writing(path string, durable bool) string {
	return name(path,
		"busy_timeout(10000)", "journal_mode(WAL)", synchronous(durable), "fullfsync(ON)", "foreign_keys(ON)", "case_sensitive_like(ON)",
		"cache_size(-4096)", softLimit, "wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "temp_store(MEMORY)")
}

// Reading names the file at path for a connection that only reads.
func Reading(path string) string {
	return name(path,
		"busy_timeout(10000)", "query_only(ON)", "foreign_keys(ON)", "case_sensitive_like(ON)",
		"cache_size(-1024)", softLimit, "temp_store(MEMORY)")
}

// Migrating names the file at path for a connection that changes the tables.
func Migrating(path string, durable bool) string {
	return name(path, "busy_timeout(10000)", synchronous(durable), "fullfsync(ON)", "foreign_keys(OFF)", "case_sensitive_like(ON)")
}

// synchronous is the pragma for how a writing connection syncs.
func synchronous(durable bool) string {
	if durable {
		return "synchronous(FULL)"
	}
	return "synchronous(OFF)"
}

func name(path string, pragmas ...string) string {
	// _dqs=0: a word in double quotes is a name, never text.
	q := url.Values{"_pragma": pragmas, "_dqs": {"0"}}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// Pool is the named database for whoever needs database/sql. The caller closes it.
func Pool(name string) *sql.DB { return sql.OpenDB(connector{name}) }

// connector opens connections of the driver without the process-wide registry of
// database/sql.
type connector struct{ name string }

var _ driver.Connector = connector{}

// Connect opens a connection.
func (c connector) Connect(context.Context) (driver.Conn, error) { return c.Driver().Open(c.name) }

// Driver is the SQLite driver.
func (c connector) Driver() driver.Driver { return &sqlite.Driver{} }
