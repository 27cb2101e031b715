// Package direct runs statements on one connection to SQLite without
// database/sql, whose locks, copies and goroutines cost more than most of the
// statements do. It keeps what is prepared, binds arguments, and reads rows into
// variables by the rules of database/sql. It also knows how connections are set.
//
// It owns no transactions and translates no errors; sqldb does.
package direct

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// maxStatements is how many prepared statements a connection keeps. Texts are
	// constants of the program save for IN lists, whose lengths vary.
	maxStatements = 256

	// interruptEvery is how often a statement is interrupted that goes on after
	// its context has ended: SQLite forgets an interruption that comes just
	// before the statement begins.
	interruptEvery = 10 * time.Millisecond
)

// Conn is a connection. It is used by one goroutine at a time, and for one
// statement at a time: rows are closed before the next one.
type Conn struct {
	conn driver.Conn
	db   uintptr // SQLite's handle, for interruptions

	byText map[string]*list.Element
	recent *list.List // of *statement, the most recently used in front: parsing costs more than most of the queries

	// Used again by each statement.
	bound []driver.NamedValue
	rows  Rows

	// The context of the statements under way, as its parts; see watch.
	done    <-chan struct{}
	ended   func() error
	unwatch func() bool

	mu   sync.Mutex
	turn uint64 // how many contexts were watched before
}

// prepared is a statement of the driver.
type prepared interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type statement struct {
	text      string
	stmt      prepared
	arguments int
	order     []int // which argument each variable of the statement is
}

// Open opens a connection to what Writing or Reading named.
func Open(name string) (*Conn, error) {
	conn, err := (&sqlite.Driver{}).Open(name)
	if err != nil {
		return nil, err
	}
	// The driver interrupts by a goroutine for each statement, or not at all.
	db := reflect.Indirect(reflect.ValueOf(conn)).FieldByName("db")
	if db.Kind() != reflect.Uintptr {
		return nil, errors.Join(errors.New("sqldb: the SQLite driver has another form than this program knows: build it with the version in go.mod"), conn.Close())
	}
	return &Conn{conn: conn, db: uintptr(db.Uint()), byText: map[string]*list.Element{}, recent: list.New()}, nil
}

// Close closes the connection with all its statements.
func (c *Conn) Close() error {
	c.Rest()
	for e := c.recent.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*statement).stmt.Close() // the connection goes with it
	}
	return c.conn.Close()
}

// Exec runs a statement and returns how many rows it inserted, changed or
// deleted. args are nil, int64, float64, bool, string or []byte, as many as the
// text has placeholders. A statement whose ctx ends is interrupted, and the error
// is that of ctx.
func (c *Conn) Exec(ctx context.Context, text string, args []any) (rowsAffected int64, err error) {
	st, err := c.begin(ctx, text, args)
	if err != nil {
		return 0, err
	}
	res, err := st.stmt.ExecContext(context.Background(), c.bind(st, args))
	clear(c.bound) // they may be large
	if err != nil {
		return 0, c.cause(err)
	}
	return res.RowsAffected()
}

// Query is Exec for a statement that returns rows. They are valid until the next
// statement, before which they must be closed.
func (c *Conn) Query(ctx context.Context, text string, args []any) (*Rows, error) {
	st, err := c.begin(ctx, text, args)
	if err != nil {
		return nil, err
	}
	rows, err := st.stmt.QueryContext(context.Background(), c.bind(st, args))
	clear(c.bound)
	if err != nil {
		return nil, c.cause(err)
	}
	c.rows.open(c, rows)
	return &c.rows, nil
}

// Do runs a statement without arguments and rows, such as COMMIT.
func (c *Conn) Do(text string) error {
	_, err := c.Exec(context.Background(), text, nil)
	return err
}

// Rest ends a row of statements: the end of their context does nothing any more
// when it returns.
func (c *Conn) Rest() {
	if c.done == nil {
		return
	}
	c.unwatch()
	c.mu.Lock()
	c.turn++
	c.mu.Unlock()
	c.done, c.ended, c.unwatch = nil, nil, nil
}

// begin is what comes before each statement.
func (c *Conn) begin(ctx context.Context, text string, args []any) (*statement, error) {
	if err := c.watch(ctx); err != nil {
		return nil, err
	}
	st, err := c.prepare(text)
	if err != nil {
		return nil, c.cause(err)
	}
	// SQLite would take more arguments than that; PostgreSQL does not.
	if st.arguments != len(args) {
		return nil, fmt.Errorf("sqldb: the statement has %d placeholders, but %d arguments were given", st.arguments, len(args))
	}
	return st, nil
}

// watch has the statements that follow interrupted when ctx ends, once for all
// those that come with the same context.
func (c *Conn) watch(ctx context.Context) error {
	if done := ctx.Done(); done != c.done {
		c.Rest()
		if done != nil {
			turn := c.turn
			c.done, c.ended = done, ctx.Err
			c.unwatch = context.AfterFunc(ctx, func() { c.interrupt(turn) })
		}
	}
	return ctx.Err()
}

// interrupt interrupts what runs, until Rest has ended the turn.
func (c *Conn) interrupt(turn uint64) {
	for c.interruptOnce(turn) {
		time.Sleep(interruptEvery)
	}
}

func (c *Conn) interruptOnce(turn uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn != turn {
		return false
	}
	sqlite3.Xsqlite3_interrupt(nil, c.db) // sets a flag; it has no use for a thread's state
	return true
}

// cause is the end of the context, if that is what an error of the driver comes
// from.
func (c *Conn) cause(err error) error {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok || e.Code()&0xff != sqlite3.SQLITE_INTERRUPT || c.done == nil {
		return err
	}
	if ended := c.ended(); ended != nil {
		return ended
	}
	return err
}

// bind puts the arguments into the order of the statement's variables.
func (c *Conn) bind(st *statement, args []any) []driver.NamedValue {
	c.bound = c.bound[:0]
	for i, n := range st.order {
		c.bound = append(c.bound, driver.NamedValue{Ordinal: i + 1, Value: args[n-1]})
	}
	return c.bound
}

// prepare returns the statement that text is. SQLite would take several in one
// text; PostgreSQL does not, so neither does this.
func (c *Conn) prepare(text string) (*statement, error) {
	if e, ok := c.byText[text]; ok {
		c.recent.MoveToFront(e)
		return e.Value.(*statement), nil
	}
	if err := c.makeRoom(); err != nil {
		return nil, err
	}
	if strings.Contains(strings.TrimRight(text, "; \t\n"), ";") {
		return nil, errors.New("sqldb: one statement at a time, and no semicolon within it")
	}
	st := &statement{text: text}
	numbered, err := st.number()
	if err != nil {
		return nil, err
	}
	stmt, err := c.conn.Prepare(numbered)
	if err != nil {
		return nil, err
	}
	var ok bool
	if st.stmt, ok = stmt.(prepared); !ok {
		return nil, errors.Join(fmt.Errorf("sqldb: the SQLite driver's %T takes no context", stmt), stmt.Close())
	}
	c.byText[text] = c.recent.PushFront(st)
	return st, nil
}

// makeRoom closes the statement that was not used for the longest time. None is
// in use meanwhile.
func (c *Conn) makeRoom() error {
	if c.recent.Len() < maxStatements {
		return nil
	}
	oldest := c.recent.Remove(c.recent.Back()).(*statement)
	delete(c.byText, oldest.text)
	return oldest.stmt.Close()
}
