package verify

import (
	"context"
	"encoding/json"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
)

// record is what tells one record from others.
type record struct {
	ID   string `json:"eventID"`
	Name string `json:"eventName"`
	Time string `json:"eventTime"`
	text string
}

func read(raw json.RawMessage) record {
	r := record{text: string(raw)}
	// What is no record is told by its text alone.
	_ = json.Unmarshal(raw, &r)
	return r
}

func (c *check) wrong(kind, object string, r record, text string) {
	c.report.Problems = append(c.report.Problems, Finding{
		Kind: kind, Object: object, EventID: r.ID, EventName: r.Name, EventTime: r.Time, Text: text,
	})
}

// records compares the records of a log file with those of the database. sound says that
// the file is the one that was written, so that differences are the database's.
func (c *check) records(ctx context.Context, object string, content []byte, sound bool) error {
	var file struct{ Records []json.RawMessage }
	if err := json.Unmarshal(content, &file); err != nil {
		if sound {
			c.problem(FileAltered, object, "it has no records: %v", err)
		}
		return nil // else it is reported already
	}
	c.report.Records += len(file.Records)
	known, ok := c.known[object]
	if c.Known == nil || !ok {
		return nil
	}
	rows, err := c.Known.RecordsOf(ctx, known)
	if err != nil {
		return err
	}
	if len(rows) == 0 && c.expired(known.Newest) {
		return nil
	}
	c.compare(object, file.Records, rows, sound)
	return nil
}

// expired says whether the database may have removed a record for its age.
func (c *check) expired(t time.Time) bool { return c.oldest.IsZero() || t.Before(c.oldest) }

func (c *check) compare(object string, raw []json.RawMessage, rows []audit.Stored, sound bool) {
	stored := map[string]record{}
	for _, row := range rows {
		r := read(row.Record)
		stored[r.ID] = r
	}
	inFile := map[string]bool{}
	for _, one := range raw {
		r := read(one)
		if inFile[r.ID] = true; r.ID == "" {
			continue // nothing to find it by; the hash of the file covers it
		}
		s, found := stored[r.ID]
		c.report.Compared++
		switch at, err := time.Parse(trails.TimeLayout, r.Time); {
		case found && s.text == r.text:
		case found && sound:
			c.wrong(DatabaseAltered, object, r, "the log file has it as it was recorded")
		case found:
			c.wrong(RecordAltered, object, s, "the database has it as it was recorded, or was altered too")
		// Records expire by their time, which the record has in whole seconds.
		case err == nil && c.expired(at.Add(time.Second)):
			c.report.Compared--
		case sound:
			c.wrong(DatabaseRemoved, object, r, "the log file has it")
		default:
			c.wrong(RecordAdded, object, r, "the database has it not")
		}
	}
	for _, row := range rows {
		r := read(row.Record)
		switch {
		case inFile[r.ID]:
		case sound && len(rows) > len(raw) && globalOnly(row.Record):
			// The trail did not want it.
		case sound:
			c.wrong(DatabaseAdded, object, r, "the log file of its time has it not")
		default:
			c.wrong(RecordRemoved, object, r, "the database has it")
		}
	}
}

// globalOnly says whether a trail without global service events leaves a record out.
func globalOnly(raw json.RawMessage) bool {
	var of struct {
		Source string `json:"eventSource"`
	}
	_ = json.Unmarshal(raw, &of) // what is no record is none of these
	return of.Source == "iam.amazonaws.com" || of.Source == "sts.amazonaws.com"
}
