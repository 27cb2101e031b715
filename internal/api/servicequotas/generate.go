package servicequotas

//go:generate go run ../../../tools/shapegen -model ../../../models/service-quotas.json -package servicequotas -operations ListServices,ListServiceQuotas,ListAWSDefaultServiceQuotas,GetServiceQuota,GetAWSDefaultServiceQuota,RequestServiceQuotaIncrease,GetRequestedServiceQuotaChange,ListRequestedServiceQuotaChangeHistory,ListRequestedServiceQuotaChangeHistoryByQuota -out shapes_gen.go
