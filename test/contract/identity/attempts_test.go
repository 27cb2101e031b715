package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/test/contract/harness"
)

// attempt is an attempt to get more than was given: a row of README.md.
type attempt struct {
	title, answer string
	// try does it and returns what came of it: the error that the attacker got,
	// nil for success, or an outcome. It fails the test by itself where something
	// else than the answer shows harm, or where the rightful owner is refused.
	try func(t *testing.T, w *world) error
}

// group is a section of README.md.
type group struct {
	title    string
	attempts []attempt
}

// outcome is an answer that is no error.
type outcome string

func (o outcome) Error() string { return string(o) }

// each says what several attempts got, which has to be the same.
func each(results ...error) error {
	var answers []string
	for _, err := range results {
		if a := answerOf(err); !slices.Contains(answers, a) {
			answers = append(answers, a)
		}
	}
	return outcome(strings.Join(answers, " AND ALSO "))
}

var (
	// denialForm is AWS's sentence about a refusal.
	denialForm = regexp.MustCompile(`(?s)^User: \S+ is not authorized to perform: \S+ (?:on resource: \S+ )?((?:because|with an explicit deny) .*)$`)
	// These differ from run to run.
	uuidForm = regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)
	arnForm  = regexp.MustCompile(`arn:aws:[a-z]+:[a-z0-9-]*:[0-9]{12}:[^\s'",]+`)
	nameForm = regexp.MustCompile(`\b([a-z]+)-[0-9a-f]{12}\b`)
)

// answerOf words what came of an attempt as README.md has it.
func answerOf(err error) string {
	var said outcome
	var api smithy.APIError
	var status *harness.StatusError
	switch {
	case err == nil:
		return "GRANTED"
	case errors.As(err, &said):
		return string(said)
	case errors.As(err, &api):
		return worded(api.ErrorCode(), api.ErrorMessage())
	case errors.As(err, &status):
		var document struct {
			Errors []struct{ Code, Message string }
		}
		if json.Unmarshal([]byte(status.Body), &document) == nil && len(document.Errors) == 1 {
			return worded(strconv.Itoa(status.Status)+" "+document.Errors[0].Code, document.Errors[0].Message)
		}
		return worded(strconv.Itoa(status.Status), strings.TrimSpace(status.Body))
	}
	return "failed: " + err.Error()
}

func worded(code, message string) string {
	if m := denialForm.FindStringSubmatch(message); m != nil {
		return code + ", " + m[1]
	}
	message = uuidForm.ReplaceAllString(message, "<id>")
	message = nameForm.ReplaceAllString(arnForm.ReplaceAllString(message, "<arn>"), "<$1>")
	if message == "" {
		return code
	}
	return code + ": " + message
}

// groups are all attempts.
func groups() []group {
	return []group{
		tokenAttempts(), uploadAttempts(), layerAttempts(), accountAttempts(), escalationAttempts(), boundaryAttempts(), attributeAttempts(),
		roleAttempts(), sessionAttempts(), signatureAttempts(), lockoutAttempts(), organizationAttempts(), expiryAttempts(), templateAttempts(),
	}
}

// table is the list of attempts with their answers, as README.md has it.
func table() string {
	var b strings.Builder
	for _, g := range groups() {
		fmt.Fprintf(&b, "### %s\n\n| attempt | answer |\n|---|---|\n", g.title)
		for _, a := range g.attempts {
			fmt.Fprintf(&b, "| %s | `%s` |\n", a.title, strings.TrimSpace(a.answer))
		}
		b.WriteString("\n")
	}
	return strings.TrimSpace(b.String())
}

// run makes every attempt, beside each other.
func (g group) run(t *testing.T, w *world) {
	t.Parallel()
	for _, a := range g.attempts {
		t.Run(a.title, func(t *testing.T) {
			t.Parallel()
			if got := answerOf(a.try(t, w)); got != a.answer {
				t.Errorf("the answer is\n%s\nwant\n%s", got, a.answer)
			}
		})
	}
}
