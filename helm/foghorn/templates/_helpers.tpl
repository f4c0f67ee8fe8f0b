{{- define "foghorn.labels" -}}
app.kubernetes.io/name: foghorn
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "foghorn.operatorSelector" -}}
app.kubernetes.io/name: foghorn
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* image: {image: values of the image, chart: .Chart} */ -}}
{{- define "foghorn.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .chart.AppVersion) -}}
{{- end }}

{{- /* Enough for Pod Security `restricted`. */ -}}
{{- define "foghorn.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "foghorn.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The rules between values, which a schema cannot express. The API server or the operator would refuse these too, but only after the installation. */ -}}
{{- define "foghorn.checkPlanes" -}}
{{- $classes := dict }}
{{- $leases := dict }}
{{- $defaults := list }}
{{- range $name, $plane := .Values.planes }}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$" $name) }}
{{- fail (printf "planes.%s: the name of a plane must be a DNS label of at most 40 characters: lower case letters, digits and hyphens" $name) }}
{{- end }}
{{- if eq $name "system" }}
{{- fail "planes.system: the name system is reserved, foghorn-system is where the operator lives" }}
{{- end }}
{{- $class := $plane.class | default (printf "foghorn.dev/%s" $name) }}
{{- with get $classes $class }}
{{- fail (printf "planes %s and %s have the same class %s: a Service must have one plane" . $name $class) }}
{{- end }}
{{- $_ := set $classes $class $name }}
{{- $lease := $plane.lease | default dict }}
{{- $leaseName := $lease.name | default (printf "foghorn-%s" $name) }}
{{- with get $leases $leaseName }}
{{- fail (printf "planes %s and %s have the same lease.name %s" . $name $leaseName) }}
{{- end }}
{{- $_ := set $leases $leaseName $name }}
{{- if $plane.default }}
{{- $defaults = append $defaults $name }}
{{- end }}
{{- $detection := $plane.failureDetection | default dict }}
{{- $mode := $detection.mode | default "Fast" }}
{{- range $figure := list "intervalMilliseconds" "missedHeartbeats" }}
{{- if and (eq $mode "Custom") (not (hasKey $detection $figure)) }}
{{- fail (printf "planes.%s.failureDetection: mode Custom needs %s" $name $figure) }}
{{- end }}
{{- if and (ne $mode "Custom") (hasKey $detection $figure) }}
{{- fail (printf "planes.%s.failureDetection: %s can be given with mode Custom only, and the mode is %s" $name $figure $mode) }}
{{- end }}
{{- end }}
{{- $host := $plane.hostAddress | default dict }}
{{- $guard := $plane.guard | default dict }}
{{- if and (eq ($host.mode | default "None") "Fenced") (not $host.unguarded) (eq ($guard.mode | default "Off") "Off") }}
{{- fail (printf "planes.%s.hostAddress: mode Fenced needs guard.mode Drop or Reject, or unguarded: true: without a guard the node, and all that listens on all of its addresses, can be reached by the Services' addresses" $name) }}
{{- end }}
{{- range dig "dhcp" "options" list $plane }}
{{- if has (int .code) (list 12 50 52 53 54 55 57 60 61 77 80 81 82) }}
{{- fail (printf "planes.%s.dhcp.options: option %d is Foghorn's own business, or has a field of its own" $name (int .code)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if gt (len $defaults) 1 }}
{{- fail (printf "planes %s are all default: at most one plane can serve Services without a class" (join ", " $defaults)) }}
{{- end }}
{{- end }}
