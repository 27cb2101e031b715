package catalogue

import (
	"reflect"
	"testing"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

func TestRead(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		err := db.Migrate(t.Context(), "v", fstest.MapFS{"0001_a.sql": {Data: []byte(`-- +goose Up
CREATE TABLE zebra (id BIGINT NOT NULL PRIMARY KEY, name btext NOT NULL, open BOOLEAN NOT NULL, body BYTEA NOT NULL, "when" TIMESTAMP);
CREATE TABLE ant (b BIGINT NOT NULL, a btext NOT NULL, zebra_id BIGINT NOT NULL REFERENCES zebra (id), above BIGINT, PRIMARY KEY (a, b));
CREATE TABLE "Order" (a btext, b BIGINT, FOREIGN KEY (a, b) REFERENCES ant (a, b));
CREATE TABLE bee (id BIGINT NOT NULL PRIMARY KEY, above BIGINT REFERENCES bee (id));
CREATE /*UNLOGGED*/ TABLE cat (id BIGINT NOT NULL);
`)}})
		if err != nil {
			t.Fatal(err)
		}
		var got []Table
		var postgres bool
		err = db.View(t.Context(), func(tx *sqldb.Tx) (err error) {
			postgres = tx.ForUpdate() != ""
			got, err = Read(t.Context(), tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []Table{
			{Name: "bee", Columns: []Column{{"id", Integer}, {"above", Integer}}, Key: []string{"id"}},
			{Name: "cat", Columns: []Column{{"id", Integer}}, Volatile: postgres},
			{Name: "v"}, {Name: "v_floor"},
			{Name: "zebra", Columns: []Column{{"id", Integer}, {"name", Text}, {"open", Boolean}, {"body", Bytes}, {"when", ""}}, Key: []string{"id"}},
			{Name: "ant", Columns: []Column{{"b", Integer}, {"a", Text}, {"zebra_id", Integer}, {"above", Integer}}, Key: []string{"a", "b"}, Refers: []string{"zebra"}},
			{Name: "Order", Columns: []Column{{"a", Text}, {"b", Integer}}, Refers: []string{"ant"}},
		}
		for i := range got {
			if got[i].Name == "v" || got[i].Name == "v_floor" { // the migrations' own books
				got[i] = Table{Name: got[i].Name}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%+v\nwant\n%+v", got, want)
		}
	})
}

func TestCircle(t *testing.T) {
	if _, err := inOrder([]Table{{Name: "a", Refers: []string{"b"}}, {Name: "b", Refers: []string{"a"}}, {Name: "c"}}); err == nil {
		t.Error("two tables that refer to each other were put in an order")
	}
}
