package audit

import (
	"context"
	"encoding/json"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// ServiceEvent is something that the service did by itself, on nobody's call: a
// lifecycle policy that ran, an image that came back from the archive.
type ServiceEvent struct {
	Time      time.Time
	EventName string // "PolicyExecutionEvent"
	Region    name.Region
	// Account owns the trail and the resource.
	Account name.AccountID
	// Repository is what it was done to; zero for the registry as a whole.
	Repository name.ARN
	ReadOnly   bool
	// Details becomes serviceEventDetails.
	Details any
}

// serviceEvent is CloudTrail's record of one (ECR user guide, "logging with
// CloudTrail", lifecycle policies).
type serviceEvent struct {
	EventVersion        string            `json:"eventVersion"`
	UserIdentity        serviceIdentity   `json:"userIdentity"`
	EventTime           string            `json:"eventTime"`
	EventSource         string            `json:"eventSource"`
	EventName           string            `json:"eventName"`
	AWSRegion           string            `json:"awsRegion"`
	SourceIPAddress     string            `json:"sourceIPAddress"`
	UserAgent           string            `json:"userAgent"`
	RequestParameters   json.RawMessage   `json:"requestParameters"`
	ResponseElements    json.RawMessage   `json:"responseElements"`
	EventID             string            `json:"eventID"`
	ReadOnly            bool              `json:"readOnly"`
	Resources           []serviceResource `json:"resources,omitempty"`
	EventType           string            `json:"eventType"`
	ManagementEvent     bool              `json:"managementEvent"`
	RecipientAccountID  string            `json:"recipientAccountId"`
	ServiceEventDetails any               `json:"serviceEventDetails"`
	EventCategory       string            `json:"eventCategory"`
}

type serviceIdentity struct {
	AccountID string `json:"accountId"`
	InvokedBy string `json:"invokedBy"`
}

type serviceResource struct {
	resource
	Type string `json:"type"`
}

// byService is who CloudTrail says has called, when the service did itself.
const byService = "AWS Internal"

// ServiceEventTx writes a record in the transaction of what it records.
func (t *Trail) ServiceEventTx(ctx context.Context, tx *sqldb.Tx, e ServiceEvent) error {
	id := lookup.NewRowID()
	s := serviceEvent{
		EventVersion: eventVersion, UserIdentity: serviceIdentity{AccountID: string(e.Account), InvokedBy: byService},
		EventTime: written(e.Time), EventSource: "ecr.amazonaws.com", EventName: e.EventName, AWSRegion: string(e.Region),
		SourceIPAddress: byService, UserAgent: byService, EventID: lookup.IDOf(id), ReadOnly: e.ReadOnly,
		EventType: "AwsServiceEvent", ManagementEvent: true, RecipientAccountID: string(e.Account), ServiceEventDetails: e.Details, EventCategory: "Management",
	}
	f := lookup.Facts{Name: s.EventName, Source: s.EventSource, ReadOnly: s.ReadOnly}
	if !e.Repository.IsZero() {
		r := lookup.ResourceOf(e.Repository.String())
		s.Resources = []serviceResource{{resource{ARN: r.Name, AccountID: string(e.Account)}, r.Type}}
		f.Resources = []lookup.Resource{r}
	}
	record, err := json.Marshal(s)
	if err != nil {
		return err
	}
	row := lookup.Row{ID: id, Account: e.Account, Region: e.Region, OccurredAt: e.Time.UnixMicro(), Facts: f}
	if err := lookup.InsertTx(ctx, tx, insertInto, "", 1, func(int) []any { return values(row, e.EventName, string(record)) }); err != nil {
		return err
	}
	return t.index.AddTx(ctx, tx, row)
}
