{{/* The release's name is the name of everything in it: one service, one release. */}}
{{- define "analytics.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "analytics.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Without versions: a new version of the chart alone is no reason to restart pods. */}}
{{- define "analytics.podLabels" -}}
{{ include "analytics.selectorLabels" . }}
app.kubernetes.io/part-of: analytics
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "analytics.labels" -}}
{{ include "analytics.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: analytics
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "analytics.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "analytics.name" .) -}}
{{- end -}}

{{/* A digest names bytes, a tag only a wish: the digest wins. */}}
{{- define "analytics.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}
