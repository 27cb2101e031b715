package cloudwatch

//go:generate go run ../../../tools/shapegen -model ../../../models/cloudwatch.json -package cloudwatch -operations ListMetrics,GetMetricStatistics,GetMetricData -out shapes_gen.go
