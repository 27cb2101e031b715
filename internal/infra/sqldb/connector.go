package sqldb

import (
	"context"
	"database/sql/driver"

	"modernc.org/sqlite"
)

// connector opens connections of the SQLite driver without the process-wide
// registry of database/sql.
type connector struct{ dsn string }

var _ driver.Connector = connector{}

// Connect opens a connection.
func (c connector) Connect(context.Context) (driver.Conn, error) { return c.Driver().Open(c.dsn) }

// Driver is the SQLite driver.
func (c connector) Driver() driver.Driver { return &sqlite.Driver{} }
