package servicequotas

import (
	"context"
	"strconv"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota/increase"
)

// pageSize is the service's own (API reference: 100 at most, and where nothing is said).
const pageSize = 100

func (a *API) listServices(_ context.Context, _ *aws.Call, in *ListServicesInput) (*ListServicesOutput, error) {
	var all []ServiceInfo
	for _, s := range increase.Services() {
		all = append(all, ServiceInfo{ServiceCode: new(s.Code), ServiceName: new(s.Name)})
	}
	page, next, err := pageOf(all, in.NextToken, in.MaxResults)
	return &ListServicesOutput{Services: page, NextToken: next}, err
}

func (a *API) listServiceQuotas(ctx context.Context, c *aws.Call, in *ListServiceQuotasInput) (*ListServiceQuotasOutput, error) {
	if is(in.QuotaAppliedAtLevel, AppliedLevelEnumResource) {
		return &ListServiceQuotasOutput{Quotas: []ServiceQuota{}}, nil // none is of a single resource
	}
	applied, err := a.Desk.List(ctx, c.Principal.Account, *in.ServiceCode)
	if err != nil {
		return nil, err
	}
	all := []ServiceQuota{}
	for _, q := range applied {
		if in.QuotaCode == nil || *in.QuotaCode == q.Code {
			all = append(all, quotaOf(c, q.Entry, q.Value))
		}
	}
	page, next, err := pageOf(all, in.NextToken, in.MaxResults)
	return &ListServiceQuotasOutput{Quotas: page, NextToken: next}, err
}

func (a *API) listDefaults(_ context.Context, c *aws.Call, in *ListAWSDefaultServiceQuotasInput) (*ListAWSDefaultServiceQuotasOutput, error) {
	entries := increase.Entries(*in.ServiceCode)
	if entries == nil {
		return nil, errs.New(errs.QuotaNotFound, "The request failed because the specified service does not exist.")
	}
	all := []ServiceQuota{}
	for _, e := range entries {
		all = append(all, quotaOf(c, e, e.Default()))
	}
	page, next, err := pageOf(all, in.NextToken, in.MaxResults)
	return &ListAWSDefaultServiceQuotasOutput{Quotas: page, NextToken: next}, err
}

func (a *API) getServiceQuota(ctx context.Context, c *aws.Call, in *GetServiceQuotaInput) (*GetServiceQuotaOutput, error) {
	if in.ContextId != nil {
		return nil, errs.New(errs.QuotaNotFound, "The request failed because the quota is one of the account, not of a resource. Leave ContextId out.")
	}
	q, err := a.Desk.Get(ctx, c.Principal.Account, *in.ServiceCode, *in.QuotaCode)
	if err != nil {
		return nil, err
	}
	return &GetServiceQuotaOutput{Quota: new(quotaOf(c, q.Entry, q.Value))}, nil
}

func (a *API) getDefault(_ context.Context, c *aws.Call, in *GetAWSDefaultServiceQuotaInput) (*GetAWSDefaultServiceQuotaOutput, error) {
	e, err := increase.Find(*in.ServiceCode, *in.QuotaCode)
	if err != nil {
		return nil, err
	}
	return &GetAWSDefaultServiceQuotaOutput{Quota: new(quotaOf(c, e, e.Default()))}, nil
}

func (a *API) request(ctx context.Context, c *aws.Call, in *RequestServiceQuotaIncreaseInput) (*RequestServiceQuotaIncreaseOutput, error) {
	if in.ContextId != nil {
		return nil, errs.New(errs.InvalidParameter, "The quota is one of the account, not of a resource. Leave ContextId out.")
	}
	r, err := a.Desk.Ask(ctx, c.Principal.Account, c.Region, c.Principal.ARN, *in.ServiceCode, *in.QuotaCode, *in.DesiredValue)
	if err != nil {
		return nil, err
	}
	return &RequestServiceQuotaIncreaseOutput{RequestedQuota: new(changeOf(r))}, nil
}

func (a *API) getRequest(ctx context.Context, c *aws.Call, in *GetRequestedServiceQuotaChangeInput) (*GetRequestedServiceQuotaChangeOutput, error) {
	r, err := a.Desk.Request(ctx, c.Principal.Account, *in.RequestId)
	if err != nil {
		return nil, err
	}
	return &GetRequestedServiceQuotaChangeOutput{RequestedQuota: new(changeOf(r))}, nil
}

func (a *API) history(ctx context.Context, c *aws.Call, in *ListRequestedServiceQuotaChangeHistoryInput) (*ListRequestedServiceQuotaChangeHistoryOutput, error) {
	f := increase.Filter{Account: c.Principal.Account, Region: c.Region}
	if in.ServiceCode != nil {
		f.Service = *in.ServiceCode
	}
	all, next, err := a.changes(ctx, f, in.Status, in.QuotaRequestedAtLevel, in.NextToken, in.MaxResults)
	return &ListRequestedServiceQuotaChangeHistoryOutput{RequestedQuotas: all, NextToken: next}, err
}

func (a *API) historyOfQuota(ctx context.Context, c *aws.Call, in *ListRequestedServiceQuotaChangeHistoryByQuotaInput) (*ListRequestedServiceQuotaChangeHistoryByQuotaOutput, error) {
	if _, err := increase.Find(*in.ServiceCode, *in.QuotaCode); err != nil {
		return nil, err
	}
	f := increase.Filter{Account: c.Principal.Account, Region: c.Region, Service: *in.ServiceCode, Code: *in.QuotaCode}
	all, next, err := a.changes(ctx, f, in.Status, in.QuotaRequestedAtLevel, in.NextToken, in.MaxResults)
	return &ListRequestedServiceQuotaChangeHistoryByQuotaOutput{RequestedQuotas: all, NextToken: next}, err
}

func (a *API) changes(ctx context.Context, f increase.Filter, status *RequestStatus, level *AppliedLevelEnum, token *string, limit *int64) ([]RequestedServiceQuotaChange, *string, error) {
	all := []RequestedServiceQuotaChange{}
	if is(level, AppliedLevelEnumResource) {
		return all, nil, nil
	}
	if status != nil {
		f.Status = increase.Status(*status)
	}
	cursor := ""
	if token != nil {
		cursor = *token
	}
	found, next, err := a.Desk.Requests(ctx, f, cursor, paging.LimitOf(limit, pageSize))
	if err != nil {
		return nil, nil, err
	}
	for _, r := range found {
		all = append(all, changeOf(r))
	}
	if next == "" {
		return all, nil, nil
	}
	return all, &next, nil
}

// pageOf cuts a page out of a short list; its token is the position of the next one.
func pageOf[T any](all []T, token *string, limit *int64) ([]T, *string, error) {
	from := 0
	if token != nil {
		n, err := strconv.Atoi(*token)
		if err != nil || n < 0 || n > len(all) {
			return nil, nil, errs.New(errs.InvalidInput, "Invalid pagination token provided")
		}
		from = n
	}
	all = all[from:]
	if n := paging.LimitOf(limit, pageSize); n < len(all) {
		return all[:n], new(strconv.Itoa(from + n)), nil
	}
	return all, nil, nil
}

func is[T comparable](p *T, v T) bool { return p != nil && *p == v }

// titleOf is the name of a service in AWS's list.
func titleOf(service string) string {
	for _, s := range increase.Services() {
		if s.Code == service {
			return s.Name
		}
	}
	return service
}

func quotaOf(c *aws.Call, e increase.Entry, value float64) ServiceQuota {
	q := ServiceQuota{
		ServiceCode: new(e.Service), ServiceName: new(titleOf(e.Service)), QuotaArn: new(e.ARN(c.Principal.Account, c.Region)), QuotaCode: new(e.Code),
		QuotaName: new(e.Title), Value: &value, Unit: new(e.Unit), Adjustable: new(e.Adjustable), GlobalQuota: new(false),
		QuotaAppliedAtLevel: new(AppliedLevelEnumAccount), Description: new(e.Description),
	}
	if e.PerSecond {
		q.Period = &QuotaPeriod{PeriodValue: new(int64(1)), PeriodUnit: new(PeriodUnitSecond)}
	}
	if e.Service == name.ServiceECR {
		q.UsageMetric = metricOf(e)
	}
	return q
}

// metricOf is the metric that counts what a quota bounds (ECR user guide, "Amazon ECR
// usage metrics"); nil for none.
func metricOf(e increase.Entry) *MetricInfo {
	m := MetricInfo{MetricNamespace: new("AWS/Usage")}
	switch {
	case e.PerSecond:
		m.MetricName, m.MetricStatisticRecommendation = new("CallCount"), new("Sum")
		m.MetricDimensions = map[string]string{"Class": "None", "Resource": e.Action, "Service": "ECR", "Type": "API"}
	case e.Resource != "":
		m.MetricName, m.MetricStatisticRecommendation = new("ResourceCount"), new("Maximum")
		m.MetricDimensions = map[string]string{"Class": "None", "Resource": e.Resource, "Service": "ECR", "Type": "RESOURCE"}
	default:
		return nil
	}
	return &m
}

func changeOf(r increase.Request) RequestedServiceQuotaChange {
	return RequestedServiceQuotaChange{
		Id: &r.ID, ServiceCode: new(r.Entry.Service), ServiceName: new(titleOf(r.Entry.Service)),
		QuotaCode: new(r.Entry.Code), QuotaName: new(r.Entry.Title), DesiredValue: &r.Desired, Status: new(RequestStatus(r.Status)),
		Created: shape.At(r.Created), LastUpdated: shape.At(r.Updated), Requester: new(requesterJSON(r)), QuotaArn: new(r.Entry.ARN(r.Account, r.Region)),
		GlobalQuota: new(false), Unit: new(r.Entry.Unit), QuotaRequestedAtLevel: new(AppliedLevelEnumAccount),
	}
}

// requesterJSON is who asked, in the JSON that the service has for it.
func requesterJSON(r increase.Request) string {
	return `{"accountId":"` + string(r.Account) + `","callerArn":"` + r.Requester + `"}`
}
