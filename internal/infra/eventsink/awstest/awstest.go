// Package awstest is a server of the few calls of Amazon SQS, SNS and EventBridge that
// events are sent by. It verifies signatures, keeps what it takes, and refuses what AWS
// refuses: wrong names, contents, group and deduplication ids, sources. It is test
// support.
package awstest

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/api/aws/sigv4"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
)

// AccessKeyID and SecretAccessKey are the only credentials that the server takes.
const (
	AccessKeyID     = "AKIDEVENTS"
	SecretAccessKey = "the-secret-of-awstest"
)

// Message is one that was taken.
type Message struct {
	Body, Group, Deduplication string
	// Source, DetailType, Time and Resources are those of events; Body is the detail.
	Source, DetailType, Time string
	Resources                []string
}

// Server is a running server.
type Server struct {
	*sinktest.Server
	verifier *sigv4.Verifier

	mu    sync.Mutex
	known map[string]bool
	taken map[string][]Message
}

// Start starts a server with queues, topics and buses by their ARNs. It ends with the
// test.
func Start(t testing.TB, arns ...string) *Server {
	t.Helper()
	s := &Server{verifier: sigv4.New(sigv4.Config{Keys: keySource{}, Clock: clock.System{}}), known: map[string]bool{}, taken: map[string][]Message{}}
	for _, arn := range arns {
		s.known[arn] = true
	}
	s.Server = sinktest.Serve(t, s, nil)
	return s
}

// URL is the server's endpoint.
func (s *Server) URL() string { return "http://" + s.Address }

// Taken is what a queue, topic or bus has taken, in order.
func (s *Server) Taken(arn string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.taken[arn]...)
}

type keySource struct{}

func (keySource) AccessKey(_ context.Context, id, token string) (sigv4.Key, bool, error) {
	return sigv4.Key{Secret: SecretAccessKey, Enabled: true}, id == AccessKeyID && token == "", nil
}

// failure is an error by AWS's name.
type failure struct{ code, message string }

func (f failure) Error() string { return f.code + ": " + f.message }

func fail(code, format string, args ...any) error { return failure{code, fmt.Sprintf(format, args...)} }

// ServeHTTP answers a call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	query := strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
	result, err := s.verifier.Authenticate(r.Context(), r, body)
	if err != nil {
		s.write(w, query, "", nil, fail("InvalidSignatureException", "%v", err))
		return
	}
	operation, service := r.Header.Get("X-Amz-Target"), ""
	var do func(region string, body []byte) (any, error)
	form, _ := url.ParseQuery(string(body)) // what is no form has no operation
	switch {
	case query && form.Get("Action") == "Publish":
		operation, service = "Publish", "sns"
		do = func(string, []byte) (any, error) { return s.publish(form) }
	case operation == "AmazonSQS.SendMessage":
		service, do = "sqs", s.sendMessage
	case operation == "AWSEvents.PutEvents":
		service, do = "events", s.putEvents
	default:
		s.write(w, query, operation, nil, fail("UnknownOperationException", "%q", operation))
		return
	}
	if err := result.CheckScope("", service); err != nil {
		s.write(w, query, operation, nil, fail("InvalidSignatureException", "%v", err))
		return
	}
	out, err := do(result.Region, body)
	s.write(w, query, operation, out, err)
}

func (s *Server) write(w http.ResponseWriter, query bool, operation string, out any, err error) {
	var f failure
	status := http.StatusOK
	if errors.As(err, &f) {
		status = http.StatusBadRequest
	} else if err != nil {
		f, status = failure{"InternalError", err.Error()}, http.StatusInternalServerError
	}
	if !query {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if err != nil {
			out = map[string]string{"__type": "com.amazonaws#" + f.code, "message": f.message}
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(out) // the client may have gone
		return
	}
	type xmlError struct {
		Type, Code, Message string
	}
	type response struct {
		XMLName   xml.Name
		MessageID string    `xml:"PublishResult>MessageId,omitempty"`
		Error     *xmlError `xml:"Error"`
		RequestID string    `xml:"RequestId"`
	}
	answer := response{XMLName: xml.Name{Local: operation + "Response"}, RequestID: uuid.NewString()}
	if err != nil {
		answer.XMLName, answer.Error = xml.Name{Local: "ErrorResponse"}, &xmlError{"Sender", f.code, f.message}
	} else {
		answer.MessageID, _ = out.(string)
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(answer) // the client may have gone
}

// keep keeps a message, or drops it when a FIFO target has it already.
func (s *Server) keep(arn string, m Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known[arn] {
		return fail("ResourceNotFound", "there is no %s", arn)
	}
	if strings.HasSuffix(arn, ".fifo") {
		if m.Group == "" || m.Deduplication == "" || len(m.Group) > 128 || len(m.Deduplication) > 128 {
			return fail("InvalidParameterValue", "The request must contain the parameter MessageGroupId.")
		}
		for _, old := range s.taken[arn] {
			if old.Deduplication == m.Deduplication {
				return nil
			}
		}
	} else if m.Deduplication != "" {
		return fail("InvalidParameterValue", "The parameter MessageDeduplicationId is for FIFO queues.")
	}
	s.taken[arn] = append(s.taken[arn], m)
	return nil
}

const maxMessage = 1 << 20

func checkText(text, code string) error {
	if text == "" || len(text) > maxMessage || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
	}) {
		return fail(code, "the message holds what it must not, or is too long")
	}
	return nil
}

func (s *Server) sendMessage(region string, body []byte) (any, error) {
	var in struct {
		QueueURL               string `json:"QueueUrl"`
		MessageBody            string
		MessageGroupID         string `json:"MessageGroupId"`
		MessageDeduplicationID string `json:"MessageDeduplicationId"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fail("SerializationException", "%v", err)
	}
	u, err := url.Parse(in.QueueURL)
	if err != nil {
		return nil, fail("InvalidAddress", "%v", err)
	}
	account, queue, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if err := checkText(in.MessageBody, "InvalidMessageContents"); err != nil {
		return nil, err
	}
	m := Message{Body: in.MessageBody, Group: in.MessageGroupID, Deduplication: in.MessageDeduplicationID}
	if err := s.keep("arn:aws:sqs:"+region+":"+account+":"+queue, m); err != nil {
		return nil, err
	}
	sum := md5.Sum([]byte(in.MessageBody))
	return map[string]string{"MessageId": uuid.NewString(), "MD5OfMessageBody": hex.EncodeToString(sum[:])}, nil
}

func (s *Server) publish(form url.Values) (any, error) {
	text := form.Get("Message")
	if err := checkText(text, "InvalidParameter"); err != nil {
		return nil, err
	}
	m := Message{Body: text, Group: form.Get("MessageGroupId"), Deduplication: form.Get("MessageDeduplicationId")}
	if err := s.keep(form.Get("TopicArn"), m); err != nil {
		return nil, err
	}
	return uuid.NewString(), nil
}

func (s *Server) putEvents(_ string, body []byte) (any, error) {
	var in struct {
		Entries []struct {
			Source, DetailType, Detail, EventBusName string
			Time                                     json.Number
			Resources                                []string
		}
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, fail("SerializationException", "%v", err)
	}
	if len(in.Entries) < 1 || len(in.Entries) > 10 {
		return nil, fail("ValidationException", "%d entries", len(in.Entries))
	}
	type result struct {
		EventID      string `json:"EventId,omitempty"`
		ErrorCode    string `json:",omitempty"`
		ErrorMessage string `json:",omitempty"`
	}
	failed, results := 0, []result{}
	for _, e := range in.Entries {
		var detail map[string]json.RawMessage
		r := result{EventID: uuid.NewString()}
		switch {
		case e.Source == "" || e.DetailType == "" || e.Detail == "":
			r = result{"", "InvalidArgument", "Parameter is not valid."}
		case strings.HasPrefix(e.Source, "aws."):
			r = result{"", "NotAuthorizedForSourceException", "Not authorized for the source."}
		case json.Unmarshal([]byte(e.Detail), &detail) != nil || detail == nil:
			r = result{"", "MalformedDetail", "Detail is malformed."}
		default:
			m := Message{Body: e.Detail, Source: e.Source, DetailType: e.DetailType, Time: e.Time.String(), Resources: e.Resources}
			if err := s.keep(e.EventBusName, m); err != nil {
				return nil, err
			}
		}
		if r.ErrorCode != "" {
			failed++
		}
		results = append(results, r)
	}
	return map[string]any{"FailedEntryCount": failed, "Entries": results}, nil
}
