package sqldb

import (
	"container/list"
	"context"
	"database/sql"
)

// maxStatements is how many prepared statements a connection to SQLite keeps.
// Texts are constants of the program save for IN lists, whose lengths vary.
const maxStatements = 256

// statements are the prepared statements of one connection to SQLite, the least
// recently used going first: parsing costs more than most of the queries.
type statements struct {
	conn   *sql.Conn
	byText map[string]*list.Element
	recent *list.List // of *statement, the most recently used in front
}

type statement struct {
	text string
	stmt *sql.Stmt
}

var _ session = (*statements)(nil)

func newStatements(conn *sql.Conn) *statements {
	return &statements{conn: conn, byText: map[string]*list.Element{}, recent: list.New()}
}

func (s *statements) prepare(ctx context.Context, text string) (*sql.Stmt, error) {
	if e, ok := s.byText[text]; ok {
		s.recent.MoveToFront(e)
		return e.Value.(*statement).stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	for s.recent.Len() >= maxStatements {
		// Not in use: a transaction runs one statement at a time.
		oldest := s.recent.Remove(s.recent.Back()).(*statement)
		delete(s.byText, oldest.text)
		if err := oldest.stmt.Close(); err != nil {
			return nil, err
		}
	}
	s.byText[text] = s.recent.PushFront(&statement{text: text, stmt: stmt})
	return stmt, nil
}

func (s *statements) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	stmt, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

func (s *statements) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	stmt, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// do runs a statement of the engine's own, such as COMMIT.
func (s *statements) do(query string) error {
	_, err := s.exec(context.Background(), query, nil)
	return translate(err)
}

func (s *statements) close() error {
	for e := s.recent.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*statement).stmt.Close() // the connection goes with it
	}
	return s.conn.Close()
}
