package secretsmanager

//go:generate go run ../../../tools/shapegen -model ../../../models/secretsmanager.json -package secretsmanager -operations CreateSecret,PutSecretValue,GetSecretValue,DescribeSecret,ListSecrets,DeleteSecret -out shapes_gen.go
