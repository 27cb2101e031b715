package migration

import (
	"errors"
	"fmt"

	"github.com/pressly/goose/v3"
)

// ErrUnknown means that the program has no migration of a number.
var ErrUnknown = errors.New("this program does not know the form that the database is to have: use the version of Berth that wrote it, or a newer one")

// UpTo is the part of the set that ends with the migration of the number version.
// ErrUnknown when there is none.
func (m Set) UpTo(version int64) (Set, error) {
	part := Set{table: m.table, files: flatFS{}}
	for name, text := range m.files {
		number, err := goose.NumericComponent(name)
		if err != nil {
			return part, err
		}
		if number <= version {
			part.files[name], part.last = text, max(part.last, number)
		}
	}
	if part.last != version || version == 0 {
		return part, fmt.Errorf("%w (form %d in %s, this program knows %d)", ErrUnknown, version, m.table, m.last)
	}
	return part, nil
}
