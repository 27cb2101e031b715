{{- define "berth.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "berth.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "berth.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "berth.selector" -}}
app.kubernetes.io/name: {{ include "berth.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "berth.labels" -}}
{{ include "berth.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "berth.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "berth.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "berth.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "berth.scheme" -}}
{{ ternary "HTTPS" "HTTP" (ne .Values.tls.existingSecret "") }}
{{- end -}}

{{- define "berth.port" -}}
{{ default (ternary 443 80 (ne .Values.tls.existingSecret "")) .Values.service.port }}
{{- end -}}

{{- /* What makes no working deployment is refused, with what to do. */ -}}
{{- define "berth.check" -}}
{{- if eq .Values.mode "scaleout" -}}
{{- if not .Values.database.existingSecret -}}{{ fail "database.existingSecret: nodes share a PostgreSQL database; name the Secret with its address, or set mode=embedded for one node with a disk" }}{{- end -}}
{{- if not .Values.masterKey.existingSecret -}}{{ fail "masterKey.existingSecret: name the Secret with the master key, which all nodes share; make one with: openssl rand -base64 32" }}{{- end -}}
{{- if not .Values.rootAccessKey.existingSecret -}}{{ fail "rootAccessKey.existingSecret: name the Secret with the root access key; a node of scaleout has no disk to write one to" }}{{- end -}}
{{- if not .Values.s3.url -}}{{ fail "s3.url: nodes share a bucket; write s3://bucket/prefix" }}{{- end -}}
{{- else -}}
{{- if or .Values.database.existingSecret .Values.masterKey.existingSecret -}}{{ fail "mode=embedded keeps its database and keyring on its disk; leave database.existingSecret and masterKey.existingSecret empty" }}{{- end -}}
{{- if .Values.autoscaling.enabled -}}{{ fail "mode=embedded is one node; autoscaling needs mode=scaleout" }}{{- end -}}
{{- end -}}
{{- range $key := list "data" "listen" "admin_listen" "drain_timeout" "drain_delay" "tls" -}}
{{- if hasKey $.Values.config $key -}}{{ fail (printf "config.%s is the chart's to set; see values.yaml for the value that stands for it" $key) }}{{- end -}}
{{- end -}}
{{- with .Values.config.database -}}
{{- if or (kindIs "string" .) (hasKey . "url") (hasKey . "direct_url") -}}{{ fail "config.database: the address holds a password; put it into the Secret that database.existingSecret names" }}{{- end -}}
{{- end -}}
{{- with .Values.config.keys -}}
{{- if hasKey . "master_key" -}}{{ fail "config.keys.master_key: name the Secret with masterKey.existingSecret" }}{{- end -}}
{{- end -}}
{{- with .Values.config.blobs -}}
{{- if or (kindIs "string" .) (hasKey . "url") -}}{{ fail "config.blobs.url: give it as s3.url" }}{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The pod, which both shapes share. */ -}}
{{- define "berth.pod" -}}
{{- include "berth.check" . -}}
metadata:
  labels:
    {{- include "berth.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A change of the configuration rolls the nodes.
    checksum/config: {{ include (print $.Template.BasePath "/configmap.yaml") . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "berth.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  # drain_delay, then drain_timeout, then a little for what is in memory.
  terminationGracePeriodSeconds: {{ add .Values.drainDelaySeconds .Values.drainSeconds 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: berth
      image: {{ include "berth.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      ports:
        - name: http
          containerPort: 5000
        - name: admin
          containerPort: {{ .Values.admin.port }}
      env:
        - name: BERTH_CONFIG
          value: /etc/berth/berth.yaml
        - name: BERTH_DATA
          value: /var/lib/berth
        - name: BERTH_LISTEN
          value: ":5000"
        - name: BERTH_ADMIN_LISTEN
          value: ":{{ .Values.admin.port }}"
        {{- if .Values.tls.existingSecret }}
        - name: BERTH_TLS_CERT
          value: /etc/berth-tls/tls.crt
        - name: BERTH_TLS_KEY
          value: /etc/berth-tls/tls.key
        {{- end }}
        {{- with .Values.database }}
        {{- if .existingSecret }}
        - name: BERTH_DATABASE
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .urlKey }}
        {{- if .directUrlKey }}
        - name: BERTH_DATABASE_DIRECT
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .directUrlKey }}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- with .Values.masterKey }}
        {{- if .existingSecret }}
        - name: BERTH_MASTER_KEY
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .key }}
        {{- end }}
        {{- end }}
        {{- with .Values.rootAccessKey }}
        {{- if .existingSecret }}
        - name: BERTH_ROOT_ACCESS_KEY_ID
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .idKey }}
        - name: BERTH_ROOT_SECRET_ACCESS_KEY
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .secretKey }}
        {{- end }}
        {{- end }}
        {{- with .Values.s3 }}
        {{- if .url }}
        - name: BERTH_BLOBS
          value: {{ .url | quote }}
        {{- with .endpoint }}
        - name: BERTH_S3_ENDPOINT
          value: {{ . | quote }}
        {{- end }}
        {{- with .region }}
        - name: BERTH_S3_REGION
          value: {{ . | quote }}
        {{- end }}
        {{- with .publicEndpoint }}
        - name: BERTH_S3_PUBLIC_ENDPOINT
          value: {{ . | quote }}
        {{- end }}
        - name: BERTH_S3_PATH_STYLE
          value: {{ .pathStyle | quote }}
        {{- if .existingSecret }}
        - name: AWS_ACCESS_KEY_ID
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .accessKeyIdKey }}
        - name: AWS_SECRET_ACCESS_KEY
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .secretAccessKeyKey }}
        {{- end }}
        {{- end }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      # A node listens when it has opened its database and brought it up to date.
      startupProbe:
        httpGet: {path: /healthz, port: http, scheme: {{ include "berth.scheme" . }}}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: {{ max 1 (div .Values.startupSeconds 5) }}
      # Alive while the process answers; a database that is away is no reason to start anew.
      livenessProbe:
        httpGet: {path: /healthz, port: http, scheme: {{ include "berth.scheme" . }}}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http, scheme: {{ include "berth.scheme" . }}}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: data
          mountPath: /var/lib/berth
        - name: config
          mountPath: /etc/berth
          readOnly: true
        {{- if .Values.tls.existingSecret }}
        - name: tls
          mountPath: /etc/berth-tls
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- if eq .Values.mode "scaleout" }}
    - name: data
      emptyDir:
        sizeLimit: {{ .Values.scratch.sizeLimit }}
    {{- end }}
    - name: config
      configMap:
        name: {{ include "berth.fullname" . }}
    {{- if .Values.tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ .Values.tls.existingSecret }}
        defaultMode: 0440
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if eq .Values.mode "scaleout" }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      {{- if not .labelSelector }}
      labelSelector:
        matchLabels:
          {{- include "berth.selector" $ | nindent 10 }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
