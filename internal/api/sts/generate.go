package sts

//go:generate go run ../../../tools/shapegen -model ../../../models/sts.json -package sts -operations GetCallerIdentity,AssumeRole,AssumeRoleWithWebIdentity,GetSessionToken,GetFederationToken,GetAccessKeyInfo,DecodeAuthorizationMessage -out shapes_gen.go
