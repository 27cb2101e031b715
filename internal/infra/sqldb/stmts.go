package sqldb

import (
	"container/list"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
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
	text       string
	stmt       *sql.Stmt
	parameters int
}

var _ session = (*statements)(nil)

func newStatements(conn *sql.Conn) *statements {
	return &statements{conn: conn, byText: map[string]*list.Element{}, recent: list.New()}
}

// prepare returns the statement that text is. SQLite would take several in one
// text, and more arguments than it has placeholders; PostgreSQL does not, so
// neither does this.
func (s *statements) prepare(ctx context.Context, text string, arguments int) (*sql.Stmt, error) {
	e, ok := s.byText[text]
	if ok {
		s.recent.MoveToFront(e)
	} else {
		if err := s.makeRoom(); err != nil {
			return nil, err
		}
		if strings.Contains(strings.TrimRight(text, "; \t\n"), ";") {
			return nil, errors.New("sqldb: one statement at a time, and no semicolon within it")
		}
		stmt, err := s.conn.PrepareContext(ctx, text)
		if err != nil {
			return nil, err
		}
		e = s.recent.PushFront(&statement{text: text, stmt: stmt, parameters: parameters(text)})
		s.byText[text] = e
	}
	st := e.Value.(*statement)
	if st.parameters != arguments {
		return nil, fmt.Errorf("sqldb: the statement has %d placeholders, but %d arguments were given", st.parameters, arguments)
	}
	return st.stmt, nil
}

// makeRoom closes the statement that was not used for the longest time. None is
// in use now: a transaction runs one at a time.
func (s *statements) makeRoom() error {
	if s.recent.Len() < maxStatements {
		return nil
	}
	oldest := s.recent.Remove(s.recent.Back()).(*statement)
	delete(s.byText, oldest.text)
	return oldest.stmt.Close()
}

// parameters is the highest number of the placeholders $1, $2 and so on in
// text, which has none within quotes.
func parameters(text string) int {
	highest := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\'':
			if end := strings.IndexByte(text[i+1:], '\''); end >= 0 {
				i += end + 1
			}
		case '$':
			n := 0
			for i+1 < len(text) && '0' <= text[i+1] && text[i+1] <= '9' {
				i++
				n = n*10 + int(text[i]-'0')
			}
			highest = max(highest, n)
		}
	}
	return highest
}

func (s *statements) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	stmt, err := s.prepare(ctx, query, len(args))
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

func (s *statements) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	stmt, err := s.prepare(ctx, query, len(args))
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
