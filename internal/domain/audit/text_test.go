package audit_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/name"
)

// What encoding/json has to write is said once more, as structs.
type (
	recordOfCall struct {
		EventVersion        string          `json:"eventVersion"`
		UserIdentity        userIdentity    `json:"userIdentity"`
		EventTime           string          `json:"eventTime"`
		EventSource         string          `json:"eventSource"`
		EventName           string          `json:"eventName"`
		AWSRegion           string          `json:"awsRegion"`
		SourceIPAddress     string          `json:"sourceIPAddress"`
		UserAgent           string          `json:"userAgent"`
		ErrorCode           string          `json:"errorCode,omitempty"`
		ErrorMessage        string          `json:"errorMessage,omitempty"`
		RequestParameters   json.RawMessage `json:"requestParameters"`
		ResponseElements    json.RawMessage `json:"responseElements"`
		AdditionalEventData *clientData     `json:"additionalEventData,omitempty"`
		RequestID           string          `json:"requestID"`
		ReadOnly            bool            `json:"readOnly"`
		Resources           []resource      `json:"resources,omitempty"`
		EventType           string          `json:"eventType"`
		ManagementEvent     bool            `json:"managementEvent"`
		RecipientAccountID  string          `json:"recipientAccountId"`
		EventCategory       string          `json:"eventCategory"`
		TLSDetails          *tlsDetails     `json:"tlsDetails,omitempty"`
	}
	clientData struct {
		SourceIPAddress string `json:"clientSourceIPAddress,omitempty"`
		UserAgent       string `json:"clientUserAgent,omitempty"`
	}
	tlsDetails struct {
		Version     string `json:"tlsVersion"`
		CipherSuite string `json:"cipherSuite"`
		Host        string `json:"clientProvidedHostHeader"`
	}
	resource struct {
		ARN       string `json:"ARN"`
		AccountID string `json:"accountId"`
	}
	userIdentity struct {
		Type           string          `json:"type"`
		PrincipalID    string          `json:"principalId,omitempty"`
		ARN            string          `json:"arn,omitempty"`
		AccountID      string          `json:"accountId,omitempty"`
		AccessKeyID    string          `json:"accessKeyId,omitempty"`
		UserName       string          `json:"userName,omitempty"`
		InvokedBy      string          `json:"invokedBy,omitempty"`
		SessionContext *sessionContext `json:"sessionContext,omitempty"`
	}
	sessionContext struct {
		Attributes    sessionAttributes `json:"attributes"`
		SessionIssuer *sessionIssuer    `json:"sessionIssuer,omitempty"`
	}
	sessionAttributes struct {
		MFA     string `json:"mfaAuthenticated"`
		Created string `json:"creationDate"`
	}
	sessionIssuer struct {
		Type        string `json:"type"`
		PrincipalID string `json:"principalId"`
		ARN         string `json:"arn"`
		AccountID   string `json:"accountId"`
		UserName    string `json:"userName"`
	}
)

const timeLayout = "2006-01-02T15:04:05Z"

// expected is the record of an entry.
func expected(e audit.Entry, o audit.Options) ([]byte, error) {
	p := e.Principal
	r := recordOfCall{
		EventVersion: "1.11", UserIdentity: userIdentity{Type: "Unknown", InvokedBy: e.InvokedBy}, EventTime: e.Time.UTC().Format(timeLayout),
		EventSource: e.EventSource, EventName: e.EventName, AWSRegion: string(e.Region), SourceIPAddress: e.SourceIP, UserAgent: e.UserAgent,
		ErrorCode: e.ErrorCode, ErrorMessage: e.ErrorMessage, RequestParameters: e.RequestParameters, ResponseElements: e.ResponseElements, RequestID: e.RequestID,
		ReadOnly: e.ReadOnly, EventType: "AwsApiCall", ManagementEvent: true, RecipientAccountID: string(e.Account), EventCategory: "Management",
	}
	if p.ARN != "" {
		r.UserIdentity = userIdentity{Type: p.Type, PrincipalID: p.ID, ARN: p.ARN, AccountID: string(p.Account), AccessKeyID: p.AccessKeyID, UserName: p.UserName, InvokedBy: e.InvokedBy}
		if s := p.Session; s != nil {
			c := &sessionContext{Attributes: sessionAttributes{strconv.FormatBool(s.MFA), s.Created.UTC().Format(timeLayout)}}
			if s.IssuerARN != "" {
				c.SessionIssuer = &sessionIssuer{"Role", s.IssuerID, s.IssuerARN, string(p.Account), s.IssuerName}
			}
			r.UserIdentity.SessionContext = c
		}
	}
	if e.EventName == "UpdateImageStorageClass" && e.ResponseElements != nil {
		r.ResponseElements = json.RawMessage(`{"image":` + string(e.ResponseElements) + `}`)
	}
	if e.Proxied && !o.ClientAddresses {
		if e.SourceIP != "" || e.UserAgent != "" {
			r.AdditionalEventData = &clientData{e.SourceIP, e.UserAgent}
		}
		r.SourceIPAddress, r.UserAgent, r.UserIdentity.InvokedBy = e.EventSource, e.EventSource, e.EventSource
	}
	for _, arn := range e.Resources {
		account := e.Account
		if a, err := name.ParseARN(arn); err == nil {
			account = a.Account
		}
		r.Resources = append(r.Resources, resource{arn, string(account)})
	}
	if s := e.TLS; s != nil {
		r.TLSDetails = &tlsDetails{s.Version, s.CipherSuite, s.Host}
	}
	return json.Marshal(r)
}

// texts are what a member may be, as a client may make it.
var texts = rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z<>&" \\]{1,8}`), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))

var documents = rapid.Custom(func(t *rapid.T) json.RawMessage {
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return json.RawMessage(rapid.SampledFrom([]string{`{}`, `{"a":"b"}`, `{ "a" : [1, 2] }`, "\"\u2028<\"", `{"a":"<b>&"}`, `{"a`, ``}).Draw(t, "document"))
	}
	b, err := json.Marshal(rapid.MapOf(texts, texts).Draw(t, "members"))
	if err != nil {
		t.Fatal(err)
	}
	return b
})

// TestText: a record is what encoding/json makes of it, whatever stands in it.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(what string) string { return texts.Draw(t, what) }
		moment := func(what string) time.Time {
			return time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, what)).In(time.FixedZone("", rapid.IntRange(-3600, 3600).Draw(t, "zone")))
		}
		e := audit.Entry{
			Time: moment("time"), EventSource: text("source"), EventName: text("name"), Region: name.Region(text("region")), Account: name.AccountID(text("account")),
			InvokedBy: text("invoked by"), SourceIP: text("ip"), UserAgent: text("agent"), Proxied: rapid.Bool().Draw(t, "proxied"), RequestID: text("request"),
			ErrorCode: text("code"), ErrorMessage: text("message"), RequestParameters: documents.Draw(t, "parameters"), ResponseElements: documents.Draw(t, "elements"),
			Resources: rapid.SliceOfN(rapid.OneOf(texts, rapid.Just("arn:aws:ecr:us-east-1:222222222222:repository/a")), 0, 3).Draw(t, "resources"), ReadOnly: rapid.Bool().Draw(t, "read only"),
		}
		if rapid.Bool().Draw(t, "archiving") {
			e.EventName = "UpdateImageStorageClass"
		}
		if rapid.Bool().Draw(t, "known") {
			e.Principal = audit.Identity{Account: name.AccountID(text("p account")), ARN: text("p arn"), ID: text("p id"), AccessKeyID: text("p key"), Type: text("p type"), UserName: text("p name")}
			if rapid.Bool().Draw(t, "session") {
				e.Principal.Session = &audit.Session{Created: moment("created"), MFA: rapid.Bool().Draw(t, "mfa"), IssuerID: text("i id"), IssuerARN: text("i arn"), IssuerName: text("i name")}
			}
		}
		if rapid.Bool().Draw(t, "tls") {
			e.TLS = &audit.TLS{Version: text("version"), CipherSuite: text("suite"), Host: text("host")}
		}
		marshaled := func(doc json.RawMessage) bool {
			again, err := json.Marshal(doc)
			return doc == nil || err == nil && string(again) == string(doc)
		}
		e.Marshaled = marshaled(e.RequestParameters) && marshaled(e.ResponseElements) && rapid.Bool().Draw(t, "marshaled")
		o := audit.Options{ClientAddresses: rapid.Bool().Draw(t, "addresses")}
		want, refused := expected(e, o)
		got, split, err := audit.Text(e, o)
		if (err != nil) != (refused != nil) {
			t.Fatalf("%v, want %v", err, refused)
		}
		if err != nil {
			return
		}
		if got != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		if with := got[:split] + `,"eventID":"x"` + got[split:]; !json.Valid([]byte(with)) || split == 0 {
			t.Fatalf("the event id makes it %s", with)
		}
	})
}
