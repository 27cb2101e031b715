// Package servicequotas is the part of AWS Service Quotas (2019-06-24, JSON 1.1) that
// lists the quotas of ecr and ecr-public with the values that hold, and takes requests
// for more: the table of operations, each with the permissions it needs, and the
// translation between the service's shapes and the domain.
//
// It does not authenticate, validate shapes, authorize or write answers; the pipeline
// in api/aws does. The quotas and requests are domain/quota/increase's.
package servicequotas

import (
	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota/increase"
)

// Config is what the API stands on.
type Config struct {
	Desk *increase.Desk
}

// API holds the operations.
type API struct{ Config }

// New returns the API.
func New(c Config) *API { return &API{c} }

// Service describes the API to the pipeline. It can be described without a Config,
// for the documentation.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:         "service-quotas",
		EventSource:  "servicequotas.amazonaws.com",
		TargetPrefix: "ServiceQuotasV20190624",
		SigningNames: []string{"servicequotas"},
		Host:         name.HostServiceQuotas,
		Protocol:     json11.Protocol{},
		Known:        OperationNames(),
		Errors:       errorOf,
		ErrorShapes:  ErrorShapes(),
		Notes: map[string]string{
			"ListServices":                "those with quotas here: ecr and ecr-public",
			"ListServiceQuotas":           "1,000,000,000 stands for no limit; codes that AWS does not publish are Berth's own",
			"RequestServiceQuotaIncrease": "an operator decides: berth quota requests; what is approved holds in all regions of the account",
		},
		Operations: []aws.Operation{
			aws.Op("ListServices", false, anywhere[ListServicesInput]("ListServices"), a.listServices),
			aws.Op("ListServiceQuotas", false, anywhere[ListServiceQuotasInput]("ListServiceQuotas"), a.listServiceQuotas),
			aws.Op("ListAWSDefaultServiceQuotas", false, anywhere[ListAWSDefaultServiceQuotasInput]("ListAWSDefaultServiceQuotas"), a.listDefaults),
			aws.Op("GetServiceQuota", false, anywhere[GetServiceQuotaInput]("GetServiceQuota"), a.getServiceQuota),
			aws.Op("GetAWSDefaultServiceQuota", false, anywhere[GetAWSDefaultServiceQuotaInput]("GetAWSDefaultServiceQuota"), a.getDefault),
			aws.Op("RequestServiceQuotaIncrease", true, requestNeeds, a.request),
			aws.Op("GetRequestedServiceQuotaChange", false, anywhere[GetRequestedServiceQuotaChangeInput]("GetRequestedServiceQuotaChange"), a.getRequest),
			aws.Op("ListRequestedServiceQuotaChangeHistory", false, anywhere[ListRequestedServiceQuotaChangeHistoryInput]("ListRequestedServiceQuotaChangeHistory"), a.history),
			aws.Op("ListRequestedServiceQuotaChangeHistoryByQuota", false, anywhere[ListRequestedServiceQuotaChangeHistoryByQuotaInput]("ListRequestedServiceQuotaChangeHistoryByQuota"), a.historyOfQuota),
		},
	}
}

// anywhere is the need of an operation that is about no resource (service authorization
// reference, "Service Quotas").
func anywhere[I any](operation string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(*aws.Call, *I) ([]authz.Need, error) {
		return []authz.Need{{Action: "servicequotas:" + operation}}, nil
	}
}

func requestNeeds(c *aws.Call, in *RequestServiceQuotaIncreaseInput) ([]authz.Need, error) {
	return []authz.Need{{
		Action: "servicequotas:RequestServiceQuotaIncrease",
		Resource: name.ARN{
			Partition: "aws", Service: "servicequotas", Region: c.Region, Account: c.Principal.Account, Resource: *in.ServiceCode + "/" + *in.QuotaCode,
		},
		Context: map[string][]string{"servicequotas:service": {*in.ServiceCode}},
	}}, nil
}
