package keyring

// A keyring of the first build (its keys protect nothing), what it wrapped for "data key" and "context", and
// the first eight bytes that it derived for "tokens".
const (
	oldKeyring = `{
  "format": 1,
  "default": "0ace11c4-96d9-4417-92a8-6c413405d159",
  "keys": [
    {
      "id": "0ace11c4-96d9-4417-92a8-6c413405d159",
      "account": "",
      "region": "",
      "aliases": [],
      "enabled": true,
      "created_at": "2026-11-21T09:00:00Z",
      "versions": [
        {
          "created_at": "2026-11-21T09:00:00Z",
          "material": "j5hkthw0FPazFMvdkwDIkOK7zAX2sRpRLiyAOD8uu7E=",
          "check": "a39085f3e50360ed"
        }
      ]
    },
    {
      "id": "96684170-4d4c-413f-aeff-b9ef5632d007",
      "account": "123456789012",
      "region": "eu-west-1",
      "aliases": [
        "alias/a"
      ],
      "enabled": true,
      "created_at": "2026-11-21T09:00:00Z",
      "versions": [
        {
          "created_at": "2026-11-21T09:00:00Z",
          "material": "6WslxTKHqD97NUhVim7LipOwj/FJsNqh2TYe5UjjTJM=",
          "check": "7e386a3b7f936fee"
        },
        {
          "created_at": "2026-11-21T09:00:00Z",
          "material": "AXwTcM0r0yCSxMc72DdWt0fpFmaGHNd9Xlopycl8lzY=",
          "check": "b52e8b1d082a68ac"
        }
      ]
    }
  ]
}
`
	oldWrapped = "\x01\x96hApMLA?\xae\xff\xb9\xefV2\xd0\a\x00\x00\x00\x01=Gh\xf9\x96-w\xb4|\x88`V\xf3|\x16\x87\u8ea1W\xe1\xf3\x01\x10\xe85\xf60\v\f\xe3\xab^2\x18D"
	oldDerived = "\xfc5+\x96jt\u00b4"
)
