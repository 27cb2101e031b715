// Package audit keeps a record of every call, in the shape of CloudTrail's
// records, for those who have to answer who did what.
//
// It does not decide what a record holds (the pipelines fill it in) and does
// not deliver or query the trail; later features read the table.
package audit

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Identity is the caller of a recorded call: what principal.Principal says.
type Identity struct {
	Account     name.AccountID
	ARN         string
	ID          string
	AccessKeyID string
	// Type is CloudTrail's word: Root, IAMUser, AssumedRole, FederatedUser.
	Type string
	// UserName is an IAM user's name; "" for others.
	UserName string
	// Session is what temporary credentials say of themselves, nil for others.
	Session *Session
}

// Session is the sessionContext of a record.
type Session struct {
	Created time.Time
	MFA     bool
	// IssuerID, IssuerARN and IssuerName are the role's; "" for others.
	IssuerID, IssuerARN, IssuerName string
}

// Entry is one call, answered or refused.
type Entry struct {
	Time        time.Time
	EventSource string // "ecr.amazonaws.com"
	EventName   string // the operation
	Region      name.Region
	// Principal is zero when the caller could not be told.
	Principal Identity
	// InvokedBy is the AWS service that made the call on the principal's behalf,
	// "" for calls that the principal made.
	InvokedBy string
	// Account owns the trail that the record belongs to: the account of the
	// addressed registry.
	Account   name.AccountID
	SourceIP  string
	UserAgent string
	RequestID string
	// ErrorCode and ErrorMessage are empty for a call that succeeded.
	ErrorCode    string
	ErrorMessage string
	// RequestParameters and ResponseElements are JSON without secrets and
	// without layer bytes; the latter nil for reads.
	RequestParameters json.RawMessage
	ResponseElements  json.RawMessage
	Resources         []string
	ReadOnly          bool
}

// Limits of the buffer between the calls and the table.
const (
	maxBuffered   = 20_000 // entries; beyond it a call waits for the table
	batchSize     = 500    // rows in one transaction
	flushInterval = time.Second
)

// Trail collects entries in memory and writes them in batches, so that a pull
// waits for no database. A kill -9 loses at most the last second of entries.
type Trail struct {
	db  *sqldb.DB
	log *slog.Logger

	mu      sync.Mutex
	room    *sync.Cond
	pending []Entry
	wake    chan struct{}
}

// NewTrail returns a trail that writes to db once Run is called.
func NewTrail(db *sqldb.DB, log *slog.Logger) *Trail {
	t := &Trail{db: db, log: log, wake: make(chan struct{}, 1)}
	t.room = sync.NewCond(&t.mu)
	return t
}

// Record takes one entry. It returns at once unless the buffer is full.
func (t *Trail) Record(_ context.Context, e Entry) {
	t.mu.Lock()
	for len(t.pending) >= maxBuffered {
		t.room.Wait()
	}
	t.pending = append(t.pending, e)
	full := len(t.pending) >= batchSize
	t.mu.Unlock()
	if full {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// Run writes batches until ctx ends, then writes what is left.
func (t *Trail) Run(ctx context.Context) error {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.wake:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return t.Flush(last)
		}
		if err := t.Flush(ctx); err != nil && ctx.Err() == nil {
			t.log.Error("the audit trail cannot be written; will try again", "error", err)
		}
	}
}

// Flush writes everything that is pending.
func (t *Trail) Flush(ctx context.Context) error {
	for {
		t.mu.Lock()
		n := min(len(t.pending), batchSize)
		batch := append([]Entry(nil), t.pending[:n]...)
		t.mu.Unlock()
		if n == 0 {
			return nil
		}
		if err := t.write(ctx, batch); err != nil {
			return err
		}
		t.mu.Lock()
		t.pending = append(t.pending[:0], t.pending[n:]...)
		t.room.Broadcast()
		t.mu.Unlock()
	}
}

func (t *Trail) write(ctx context.Context, batch []Entry) error {
	records := make([]string, len(batch))
	ids := make([]int64, len(batch))
	for i, e := range batch {
		b, err := json.Marshal(recordOf(e))
		if err != nil {
			return err
		}
		records[i], ids[i] = string(b), sqldb.NewID()
	}
	return t.db.Update(ctx, func(tx *sqldb.Tx) error {
		for i, e := range batch {
			_, err := tx.Exec(ctx, `INSERT INTO audit (id, account_id, region, occurred_at, name, record) VALUES ($1, $2, $3, $4, $5, $6)`,
				ids[i], string(e.Account), string(e.Region), e.Time.UnixMicro(), e.EventName, records[i])
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// record is CloudTrail's record of an API call (ECR user guide, "logging with
// CloudTrail").
type record struct {
	EventVersion       string          `json:"eventVersion"`
	UserIdentity       identity        `json:"userIdentity"`
	EventTime          string          `json:"eventTime"`
	EventSource        string          `json:"eventSource"`
	EventName          string          `json:"eventName"`
	AWSRegion          string          `json:"awsRegion"`
	SourceIPAddress    string          `json:"sourceIPAddress"`
	UserAgent          string          `json:"userAgent"`
	ErrorCode          string          `json:"errorCode,omitempty"`
	ErrorMessage       string          `json:"errorMessage,omitempty"`
	RequestParameters  json.RawMessage `json:"requestParameters"`
	ResponseElements   json.RawMessage `json:"responseElements"`
	RequestID          string          `json:"requestID"`
	ReadOnly           bool            `json:"readOnly"`
	Resources          []resource      `json:"resources,omitempty"`
	EventType          string          `json:"eventType"`
	ManagementEvent    bool            `json:"managementEvent"`
	RecipientAccountID string          `json:"recipientAccountId"`
	EventCategory      string          `json:"eventCategory"`
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
		c.Attributes.CreationDate = s.Created.UTC().Format("2006-01-02T15:04:05Z")
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

func recordOf(e Entry) record {
	r := record{
		EventVersion: "1.08", EventTime: e.Time.UTC().Format("2006-01-02T15:04:05Z"),
		EventSource: e.EventSource, EventName: e.EventName, AWSRegion: string(e.Region),
		SourceIPAddress: e.SourceIP, UserAgent: e.UserAgent, ErrorCode: e.ErrorCode, ErrorMessage: e.ErrorMessage,
		RequestParameters: e.RequestParameters, ResponseElements: e.ResponseElements, RequestID: e.RequestID,
		ReadOnly: e.ReadOnly, EventType: "AwsApiCall", ManagementEvent: true,
		RecipientAccountID: string(e.Account), EventCategory: "Management",
	}
	r.UserIdentity = identityOf(e.Principal)
	r.UserIdentity.InvokedBy = e.InvokedBy
	for _, arn := range e.Resources {
		account := string(e.Account)
		if a, err := name.ParseARN(arn); err == nil {
			account = string(a.Account)
		}
		r.Resources = append(r.Resources, resource{ARN: arn, AccountID: account})
	}
	return r
}

// ServiceEvent is something that the service did by itself, on nobody's call: a
// lifecycle policy that ran, an image that came back from the archive.
type ServiceEvent struct {
	Time      time.Time
	EventName string // "PolicyExecutionEvent"
	Region    name.Region
	// Account owns the trail and the resource.
	Account name.AccountID
	// Repository is what it was done to.
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
	Resources           []serviceResource `json:"resources"`
	EventType           string            `json:"eventType"`
	RecipientAccountID  string            `json:"recipientAccountId"`
	ServiceEventDetails any               `json:"serviceEventDetails"`
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
	record, err := json.Marshal(serviceEvent{
		EventVersion: "1.08", UserIdentity: serviceIdentity{AccountID: string(e.Account), InvokedBy: byService},
		EventTime: e.Time.UTC().Format("2006-01-02T15:04:05Z"), EventSource: "ecr.amazonaws.com", EventName: e.EventName, AWSRegion: string(e.Region),
		SourceIPAddress: byService, UserAgent: byService, EventID: uuid.NewString(), ReadOnly: e.ReadOnly,
		Resources: []serviceResource{{resource{ARN: e.Repository.String(), AccountID: string(e.Account)}, "AWS::ECR::Repository"}},
		EventType: "AwsServiceEvent", RecipientAccountID: string(e.Account), ServiceEventDetails: e.Details,
	})
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO audit (id, account_id, region, occurred_at, name, record) VALUES ($1, $2, $3, $4, $5, $6)`,
		sqldb.NewID(), string(e.Account), string(e.Region), e.Time.UnixMicro(), e.EventName, string(record))
	return err
}

// expireBatch bounds the rows that one transaction of Expire removes.
const expireBatch = 5_000

// Expire removes the records from before the given time, in batches, and
// returns how many there were.
func (t *Trail) Expire(ctx context.Context, before time.Time) (removed int64, err error) {
	for {
		var n int64
		err := t.db.Update(ctx, func(tx *sqldb.Tx) error {
			var err error
			n, err = tx.Exec(ctx, `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE occurred_at < $1 ORDER BY occurred_at LIMIT $2)`,
				before.UnixMicro(), expireBatch)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += n
		if n < expireBatch {
			return removed, nil
		}
	}
}
