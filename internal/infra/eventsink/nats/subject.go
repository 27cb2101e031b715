package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/infra/eventsink"
)

// maxSubject is how long a template may be, in bytes.
const maxSubject = 255

// placeholders are what subjects can hold.
func placeholders() []string {
	return []string{"account", "region", "repository", "source", "detail-type"}
}

// parseSubject takes a template apart: text, placeholder, text, and so on.
func parseSubject(template string) ([]string, error) {
	if len(template) > maxSubject {
		return nil, fmt.Errorf("the subject has more than %d bytes", maxSubject)
	}
	var parts []string
	rest := template
	for {
		text, after, found := strings.Cut(rest, "{")
		parts = append(parts, text)
		if !found {
			break
		}
		name, behind, found := strings.Cut(after, "}")
		if !found || !slices.Contains(placeholders(), name) {
			return nil, fmt.Errorf("the subject %q holds a placeholder that is none; there are {%s}", template, strings.Join(placeholders(), "}, {"))
		}
		parts, rest = append(parts, name), behind
	}
	if err := checkSubject(fill(parts, func(string) string { return "x" })); err != nil {
		return nil, err
	}
	return parts, nil
}

func fill(parts []string, value func(name string) string) string {
	var b strings.Builder
	for i, part := range parts {
		if i%2 == 1 {
			part = value(part)
		}
		b.WriteString(part)
	}
	return b.String()
}

// checkSubject refuses what no message can be published to.
func checkSubject(subject string) error {
	wrong := strings.HasPrefix(subject, "$") || strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '}' })
	for token := range strings.SplitSeq(subject, ".") {
		wrong = wrong || token == "" || strings.ContainsAny(token, "*>")
	}
	if wrong {
		return fmt.Errorf("%q is no subject to publish to; take tokens with dots between, such as %s, without spaces, * and >", subject, DefaultSubject)
	}
	return nil
}

// Token makes one token of a value: spaces become "-", and what would begin another
// token or mean several is escaped as in URLs, "team.a" to "team%2Ea". Nothing is "_".
func Token(value string) string {
	if value == "" {
		return "_"
	}
	var b strings.Builder
	for _, c := range []byte(value) {
		switch {
		case c == ' ':
			b.WriteByte('-')
		case c < ' ' || c >= 0x7f || strings.IndexByte(".*>%", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// subjectOf is where a message goes.
func (n *sink) subjectOf(m eventsink.Message) (string, error) {
	var e envelope
	if err := json.Unmarshal(m.Event, &e); err != nil {
		return "", errors.New("the event is no JSON object")
	}
	return fill(n.subject, func(name string) string {
		switch name {
		case "account":
			return Token(e.Account)
		case "region":
			return Token(e.Region)
		case "source":
			return Token(m.Source)
		case "detail-type":
			return Token(m.DetailType)
		}
		return Token(repository(m, e))
	}), nil
}

// repository is the name of the event's repository: by its ARN, which is what messages
// are in order by, or as the detail says it. Scans of enhanced scanning have an ARN there.
func repository(m eventsink.Message, e envelope) string {
	value := m.Group
	if value == "" && json.Unmarshal(e.Detail.Repository, &value) != nil {
		return ""
	}
	if _, after, found := strings.Cut(value, ":repository/"); found {
		return after
	}
	return value
}
