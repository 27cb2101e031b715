package audit

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/name"
)

// eventVersion is that of the records that CloudTrail writes today.
const eventVersion = "1.11"

// written is a time as a record has it.
func written(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// call is CloudTrail's record of an API call (ECR user guide, "logging with
// CloudTrail"), up to its event id, which is known only when it is written.
type call struct {
	EventVersion        string          `json:"eventVersion"`
	UserIdentity        identity        `json:"userIdentity"`
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
	AdditionalEventData *client         `json:"additionalEventData,omitempty"`
	RequestID           string          `json:"requestID"`
}

// rest is what stands behind the event id.
type rest struct {
	ReadOnly           bool        `json:"readOnly"`
	Resources          []resource  `json:"resources,omitempty"`
	EventType          string      `json:"eventType"`
	ManagementEvent    bool        `json:"managementEvent"`
	RecipientAccountID string      `json:"recipientAccountId"`
	EventCategory      string      `json:"eventCategory"`
	TLSDetails         *tlsDetails `json:"tlsDetails,omitempty"`
}

// client is where a call came from that the service made on somebody's behalf.
type client struct {
	SourceIPAddress string `json:"clientSourceIPAddress,omitempty"`
	UserAgent       string `json:"clientUserAgent,omitempty"`
}

type tlsDetails struct {
	Version     string `json:"tlsVersion"`
	CipherSuite string `json:"cipherSuite"`
	Host        string `json:"clientProvidedHostHeader"`
}

type identity struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId,omitempty"`
	ARN         string `json:"arn,omitempty"`
	AccountID   string `json:"accountId,omitempty"`
	AccessKeyID string `json:"accessKeyId,omitempty"`
	UserName    string `json:"userName,omitempty"`
	InvokedBy   string `json:"invokedBy,omitempty"`

	SessionContext *sessionContext `json:"sessionContext,omitempty"`
}

type sessionContext struct {
	Attributes struct {
		MFAAuthenticated string `json:"mfaAuthenticated"`
		CreationDate     string `json:"creationDate"`
	} `json:"attributes"`
	SessionIssuer *sessionIssuer `json:"sessionIssuer,omitempty"`
}

type sessionIssuer struct {
	Type        string `json:"type"`
	PrincipalID string `json:"principalId"`
	ARN         string `json:"arn"`
	AccountID   string `json:"accountId"`
	UserName    string `json:"userName"`
}

func identityOf(p Identity) identity {
	if p.ARN == "" {
		return identity{Type: "Unknown"}
	}
	i := identity{Type: p.Type, PrincipalID: p.ID, ARN: p.ARN, AccountID: string(p.Account), AccessKeyID: p.AccessKeyID, UserName: p.UserName}
	if s := p.Session; s != nil {
		c := &sessionContext{}
		c.Attributes.MFAAuthenticated = strconv.FormatBool(s.MFA)
		c.Attributes.CreationDate = written(s.Created)
		if s.IssuerARN != "" {
			c.SessionIssuer = &sessionIssuer{Type: "Role", PrincipalID: s.IssuerID, ARN: s.IssuerARN, AccountID: string(p.Account), UserName: s.IssuerName}
		}
		i.SessionContext = c
	}
	return i
}

type resource struct {
	ARN       string `json:"ARN"`
	AccountID string `json:"accountId"`
}

// text is a record without its event id, in two parts.
type text struct{ front, back []byte }

// record puts the parts together, with the event id of the row.
func (t text) record(row int64) string {
	return string(t.front[:len(t.front)-1]) + `,"eventID":"` + lookup.IDOf(row) + `",` + string(t.back[1:])
}

// archiving is the operation whose answer stands in the records of CloudTrail (ECR user guide,
// "logging with CloudTrail") one level deeper than the API has it.
const archiving = "UpdateImageStorageClass"

func (t *Trail) textOf(e Entry) (both text, err error) {
	c := call{
		EventVersion: eventVersion, UserIdentity: identityOf(e.Principal), EventTime: written(e.Time),
		EventSource: e.EventSource, EventName: e.EventName, AWSRegion: string(e.Region),
		SourceIPAddress: e.SourceIP, UserAgent: e.UserAgent, ErrorCode: e.ErrorCode, ErrorMessage: e.ErrorMessage,
		RequestParameters: e.RequestParameters, ResponseElements: e.ResponseElements, RequestID: e.RequestID,
	}
	c.UserIdentity.InvokedBy = e.InvokedBy
	if e.ResponseElements != nil && e.EventName == archiving {
		c.ResponseElements = slices.Concat([]byte(`{"image":`), e.ResponseElements, []byte(`}`))
	}
	if e.Proxied && !t.options.ClientAddresses {
		if e.SourceIP != "" || e.UserAgent != "" {
			c.AdditionalEventData = &client{SourceIPAddress: e.SourceIP, UserAgent: e.UserAgent}
		}
		c.SourceIPAddress, c.UserAgent, c.UserIdentity.InvokedBy = e.EventSource, e.EventSource, e.EventSource
	}
	r := rest{ReadOnly: e.ReadOnly, EventType: "AwsApiCall", ManagementEvent: true, RecipientAccountID: string(e.Account), EventCategory: "Management"}
	for _, arn := range e.Resources {
		account := string(e.Account)
		if a, err := name.ParseARN(arn); err == nil {
			account = string(a.Account)
		}
		r.Resources = append(r.Resources, resource{ARN: arn, AccountID: account})
	}
	if s := e.TLS; s != nil {
		r.TLSDetails = &tlsDetails{Version: s.Version, CipherSuite: s.CipherSuite, Host: s.Host}
	}
	if both.front, err = json.Marshal(c); err != nil {
		return text{}, err
	}
	both.back, err = json.Marshal(r)
	return both, err
}
