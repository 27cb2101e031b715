package audit

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/name"
)

// eventVersion is that of the records that CloudTrail writes today.
const eventVersion = "1.11"

// layout is how a record has times, of UTC.
const layout = "2006-01-02T15:04:05Z"

func written(t time.Time) string { return t.UTC().Format(layout) }

type resource struct {
	ARN       string `json:"ARN"`
	AccountID string `json:"accountId"`
}

// archiving is the operation whose answer stands in the records of CloudTrail (ECR user guide,
// "logging with CloudTrail") one level deeper than the API has it.
const archiving = "UpdateImageStorageClass"

// writer writes records as JSON, as encoding/json would write a struct of these members: each call
// leaves one, so that reflection would cost as much as the rest of the way to the database.
// Its errors are those of parameters that are no JSON.
type writer struct {
	b   []byte
	err error
}

// plain are the bytes that stand in a string of JSON as they are.
var plain = func() (table [256]bool) {
	for c := byte(' '); c <= '~'; c++ {
		table[c] = !strings.ContainsRune(`"\<>&`, rune(c))
	}
	return table
}()

// Plain says whether a text stands in JSON as it is, as encoding/json writes it.
func Plain(s string) bool {
	for i := range len(s) {
		if !plain[s[i]] {
			return false
		}
	}
	return true
}

// text writes what stands before a text, which is raw, and the text as a string.
func (w *writer) text(before, s string) {
	w.b = append(w.b, before...)
	if !Plain(s) {
		w.value(s)
		return
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, s...)
	w.b = append(w.b, '"')
}

// some writes it unless the text is empty.
func (w *writer) some(before, s string) {
	if s != "" {
		w.text(before, s)
	}
}

func (w *writer) raw(s string) { w.b = append(w.b, s...) }

func (w *writer) bool(before string, v bool) {
	w.raw(before)
	if v {
		w.raw("true")
		return
	}
	w.raw("false")
}

func (w *writer) time(before string, t time.Time) {
	w.raw(before)
	w.b = append(w.b, '"')
	w.b = t.UTC().AppendFormat(w.b, layout)
	w.b = append(w.b, '"')
}

// json writes a document, or null for none; marshaled is Entry.Marshaled.
func (w *writer) json(before string, doc json.RawMessage, marshaled bool) {
	w.raw(before)
	switch {
	case doc == nil:
		w.raw("null")
	case marshaled:
		w.b = append(w.b, doc...)
	default:
		w.value(doc)
	}
}

func (w *writer) value(v any) {
	b, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.b = append(w.b, b...)
}

// write writes CloudTrail's record of an API call (ECR user guide, "logging with CloudTrail")
// without its event id, which is known only when it is stored and belongs in it at split.
func (w *writer) write(e *Entry, o Options) (split int) {
	w.b, w.err = w.b[:0], nil
	address, agent, by := e.SourceIP, e.UserAgent, e.InvokedBy
	hidden := e.Proxied && !o.ClientAddresses
	if hidden {
		address, agent, by = e.EventSource, e.EventSource, e.EventSource
	}
	w.raw(`{"eventVersion":"` + eventVersion + `","userIdentity":`)
	w.identity(&e.Principal, by)
	w.time(`,"eventTime":`, e.Time)
	w.text(`,"eventSource":`, e.EventSource)
	w.text(`,"eventName":`, e.EventName)
	w.text(`,"awsRegion":`, string(e.Region))
	w.text(`,"sourceIPAddress":`, address)
	w.text(`,"userAgent":`, agent)
	w.some(`,"errorCode":`, e.ErrorCode)
	w.some(`,"errorMessage":`, e.ErrorMessage)
	w.json(`,"requestParameters":`, e.RequestParameters, e.Marshaled)
	if e.ResponseElements != nil && e.EventName == archiving {
		w.json(`,"responseElements":{"image":`, e.ResponseElements, e.Marshaled)
		w.raw(`}`)
	} else {
		w.json(`,"responseElements":`, e.ResponseElements, e.Marshaled)
	}
	if hidden && (e.SourceIP != "" || e.UserAgent != "") {
		w.raw(`,"additionalEventData":{`)
		w.some(`"clientSourceIPAddress":`, e.SourceIP)
		if e.SourceIP != "" && e.UserAgent != "" {
			w.raw(`,`)
		}
		w.some(`"clientUserAgent":`, e.UserAgent)
		w.raw(`}`)
	}
	w.text(`,"requestID":`, e.RequestID)
	split = len(w.b)
	w.bool(`,"readOnly":`, e.ReadOnly)
	for i, arn := range e.Resources {
		w.text([]string{`,"resources":[{"ARN":`, `,{"ARN":`}[min(i, 1)], arn)
		w.text(`,"accountId":`, accountOf(arn, e.Account))
		w.raw(`}`)
	}
	if len(e.Resources) > 0 {
		w.raw(`]`)
	}
	w.text(`,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":`, string(e.Account))
	w.raw(`,"eventCategory":"Management"`)
	if s := e.TLS; s != nil {
		w.text(`,"tlsDetails":{"tlsVersion":`, s.Version)
		w.text(`,"cipherSuite":`, s.CipherSuite)
		w.text(`,"clientProvidedHostHeader":`, s.Host)
		w.raw(`}`)
	}
	w.raw(`}`)
	return split
}

// identity writes the userIdentity of a caller, which is of nobody where there is no ARN.
func (w *writer) identity(p *Identity, by string) {
	if p.ARN == "" {
		w.raw(`{"type":"Unknown"`)
		w.some(`,"invokedBy":`, by)
		w.raw(`}`)
		return
	}
	w.text(`{"type":`, p.Type)
	w.some(`,"principalId":`, p.ID)
	w.text(`,"arn":`, p.ARN)
	w.some(`,"accountId":`, string(p.Account))
	w.some(`,"accessKeyId":`, p.AccessKeyID)
	w.some(`,"userName":`, p.UserName)
	w.some(`,"invokedBy":`, by)
	if s := p.Session; s != nil {
		w.bool(`,"sessionContext":{"attributes":{"mfaAuthenticated":"`, s.MFA)
		w.time(`","creationDate":`, s.Created)
		w.raw(`}`)
		if s.IssuerARN != "" {
			w.text(`,"sessionIssuer":{"type":"Role","principalId":`, s.IssuerID)
			w.text(`,"arn":`, s.IssuerARN)
			w.text(`,"accountId":`, string(p.Account))
			w.text(`,"userName":`, s.IssuerName)
			w.raw(`}`)
		}
		w.raw(`}`)
	}
	w.raw(`}`)
}

// accountOf is the account of an ARN; other for what is none.
func accountOf(arn string, other name.AccountID) string {
	if a, err := name.ParseARN(arn); err == nil {
		return string(a.Account)
	}
	return string(other)
}

// withID puts the event id of a row into a text.
func withID(text []byte, split int, row int64) string {
	return string(text[:split]) + `,"eventID":"` + lookup.IDOf(row) + `"` + string(text[split:])
}
