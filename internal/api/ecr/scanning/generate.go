package scanning

//go:generate go run ../../../../tools/shapegen -model ../../../../models/ecr.json -package scanning -names=false -operations BatchGetRepositoryScanningConfiguration,DescribeImageScanFindings,GetRegistryScanningConfiguration,PutImageScanningConfiguration,PutRegistryScanningConfiguration,StartImageScan -out shapes_gen.go
