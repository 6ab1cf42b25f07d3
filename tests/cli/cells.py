"""CSV files of cells, as text, and the constants of C5."""

HEADER = "speed_flops_per_s,memory_bytes,snr_down_db,snr_up_db\n"
ROWS = ("1e12,8e9,90,70\n", "5e11,6e9,80,60\n", "2e12,4e9,100,75\n")
CONSTANTS = [
    "limits.c5_xi=0.1",
    "limits.c5_phi=0.6",
    "limits.c5_psi=1.0",
    "limits.gamma_min=0.6",
]
FULL_HEADER = HEADER.strip() + ",num_samples,held,bandwidth_min_hz,bandwidth_max_hz\n"
FULL_ROWS = (
    "1e12,8e9,90,70,10,0.2,0,5e7\n",
    "5e11,6e9,80,60,20,0,1e7,inf\n",
    "2e12,4e9,100,75,30,1,0,3e7\n",
)
