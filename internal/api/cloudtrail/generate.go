package cloudtrail

//go:generate go run ../../../tools/shapegen -model ../../../models/cloudtrail.json -package cloudtrail -operations CreateTrail,DeleteTrail,DescribeTrails,GetTrail,GetTrailStatus,ListTrails,StartLogging,StopLogging,UpdateTrail,LookupEvents -out shapes_gen.go
