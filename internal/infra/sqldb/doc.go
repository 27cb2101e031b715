// Package sqldb is the program's only way to its databases: SQLite in the
// embedded shape, PostgreSQL in the scale-out shape, behind one handle with two
// verbs, View and Update, so that one SQL text runs on both. Lookup is a View of a
// single SELECT, for what is read all the time.
//
// It owns opening, transactions, retries, group commit, migrations and the
// translation of the engines' errors. It owns no table: the tables and their SQL
// belong to the packages of internal/domain and to infra/jobs. It keeps no other
// file than the SQLite database and its lock.
//
// What SQL may rely on, on both engines:
//
//   - Placeholders are $1, $2 and so on. Arguments are integers, bool, string
//     and []byte, or named types of those kinds, as many as there are
//     placeholders. Times are int64 microseconds. A text is one statement.
//   - Text columns have the type btext, which compares bytewise. Text is valid
//     UTF-8 without NUL; anything else is refused before it reaches an engine.
//     LIKE distinguishes case; write ESCAPE '\' where the pattern has one.
//   - BYTEA columns are NOT NULL. A nil []byte is stored as an empty one, and an
//     empty one is read back as a non-nil empty slice.
//   - sum() of a BIGINT column needs CAST(... AS BIGINT).
//   - After a statement has failed, the transaction is lost: PostgreSQL refuses
//     everything that follows, so the handle does the same on SQLite. Use
//     ON CONFLICT instead of catching a unique violation and going on.
//   - One statement at a time: Rows must be read to the end or closed before
//     the next statement of the transaction.
//
// A closure given to View or Update may run more than once, must not do I/O of
// its own, and must not call View or Update (on SQLite that would wait for
// itself).
package sqldb
